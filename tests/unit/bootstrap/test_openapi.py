from typing import Any

from deeplens.http.schemas import ApiModel
from jsonschema import Draft202012Validator

from tests.harness.api import World

OPEN = {"/v1/health", "/v1/notifications/{tenant_id}/{store_id}"}
"""The second one takes the secret of a store instead."""


def document(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.anonymous().get("/v1/openapi.json").json()
    return found


def operations(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in found["paths"].items() for operation in methods.values()]


def test_the_document_is_openapi_3_1_and_shown_at_docs(world: World) -> None:
    assert document(world)["openapi"].startswith("3.1")
    answer = world.anonymous().get("/v1/docs")
    assert (answer.status_code, answer.headers["location"]) == (307, "/swagger/search")


def test_every_operation_is_tagged_summarised_and_secured(world: World) -> None:
    for path, operation in operations(document(world)):
        assert operation["tags"], path
        assert operation["summary"], path
        assert (operation.get("security") == [{"apiKey": []}, {"oauth2": []}]) == (path not in OPEN)


def test_every_refusal_is_documented_as_a_problem(world: World) -> None:
    for path, operation in operations(document(world)):
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        if path != "/v1/health":
            assert {"401", "403", "422", "500", "503"} <= set(refusals), path
        for answer in refusals.values():
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }


def test_examples_are_valid(world: World) -> None:
    schemas = document(world)["components"]["schemas"]
    checked, models = 0, {model.__name__: model for model in subclasses(ApiModel)}
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            Draft202012Validator({**schema, "components": {"schemas": schemas}}).validate(example)
            parsed = models[name].model_validate(example)
            assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == example
            checked += 1
    assert checked >= 8


def subclasses(model: type[ApiModel]) -> list[type[ApiModel]]:
    return [model, *(found for direct in model.__subclasses__() for found in subclasses(direct))]
