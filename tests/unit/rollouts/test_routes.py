"""The Admin API's rollouts: who may do what, what each step requires, and what it says."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from deeplens.embedding.model import ModelRef
from deeplens.errors import ModelNotFound
from deeplens.images.payload import payload_of
from deeplens.rollouts.advance import TENANT_CACHED_AT_MOST
from deeplens.rollouts.model import VectorState, VectorStep
from deeplens.vectors.ports import Point
from starlette.testclient import TestClient

from tests.fakes.embedding import FakeEmbedder
from tests.harness.api import MODEL, World, picture

TARGET = ModelRef("deeplens-visual", "2", 12)
MODELS = "/v1/admin/tenants/tenant_acme/models"
WANTED = {"model": "deeplens-visual", "version": "2"}


@pytest.fixture
def world() -> World:
    made = World()
    made.embedder = FakeEmbedder(MODEL, TARGET)
    return made


@pytest.fixture
def operator(world: World) -> TestClient:
    return world.operator()


def started(operator: TestClient) -> str:
    answer = operator.post(MODELS, json=WANTED)
    assert answer.status_code == 202, answer.text
    return f"{MODELS}/{answer.json()['rollout']['rolloutId']}"


def fill(world: World, *image_ids: str) -> None:
    """What the pipeline does with the new model."""
    owner = world.acme.using(TARGET)
    for image_id in image_ids:
        row = world.images.find(world.acme, [image_id])[image_id]
        jpeg = world.stores.for_tenant(world.acme).get(f"processed/{image_id}.jpg")
        vector = world.embedder.embed([jpeg], TARGET)[0].tolist()
        world.index.upsert(owner, [Point(image_id, vector, payload_of(row, owner))])
        world.vector_states.record(world.acme, [VectorState(image_id, TARGET, 1, VectorStep.INDEXED)])


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_an_estimate_changes_nothing(world: World, operator: TestClient) -> None:
    for seed in range(3):
        world.searchable(seed)
    sent = len(world.publisher.sent)

    answer = operator.post(MODELS, json={**WANTED, "dryRun": True})

    assert answer.status_code == 200
    assert answer.json()["rollout"] is None
    assert answer.json()["estimate"]["images"] == 3
    assert answer.json()["estimate"]["minutes"] >= 0
    assert operator.get(MODELS).json() == {"active": {"name": "deeplens-visual", "version": "1"}, "rollouts": []}
    assert len(world.publisher.sent) == sent
    assert not world.index.exists(world.acme.using(TARGET))


def test_a_start_makes_the_collection_and_sets_the_back_fill_off(world: World, operator: TestClient) -> None:
    world.searchable(0)
    path = started(operator)

    assert world.index.exists(world.acme.using(TARGET))
    assert world.tenants.get("tenant_acme").target == TARGET
    event: Any = world.publisher.sent[-1].event
    assert (event.maintenance_type, event.tenant_id, event.job) == ("rollout", "tenant_acme", path.rpartition("/")[2])
    found = operator.get(path).json()
    assert (found["state"], found["progress"]["missing"], found["progress"]["percent"]) == ("running", 1, 0.0)
    assert (found["from"]["version"], found["to"]["version"]) == ("1", "2")


def test_a_rollout_from_start_to_finish(world: World, operator: TestClient) -> None:
    first, second = world.searchable(0), world.searchable(0)
    path = started(operator)
    fill(world, first, second)
    world.clock.skip(TENANT_CACHED_AT_MOST)

    over = operator.post(f"{path}/cut-over")
    assert (over.status_code, over.json()["state"]) == (200, "cut-over")
    found = world.client.get(f"/v1/images/{first}/similar").json()
    assert (found["model"]["version"], [result["imageId"] for result in found["results"]]) == ("2", [second])
    assert world.client.get(f"/v1/images/{first}").json()["model"]["version"] == "2"

    back = operator.post(f"{path}/roll-back")
    assert (back.status_code, back.json()["state"]) == (200, "running")
    assert world.client.get(f"/v1/images/{first}/similar").json()["model"]["version"] == "1"

    operator.post(f"{path}/cut-over")
    done = operator.post(f"{path}/finish").json()
    assert (done["state"], done["progress"]) == ("finished", None)
    assert operator.get(MODELS).json()["active"]["version"] == "2"
    assert world.tenants.get("tenant_acme").target is None


def test_a_cut_over_waits_until_no_process_remembers_the_old_row(world: World, operator: TestClient) -> None:
    path = started(operator)

    early = operator.post(f"{path}/cut-over")

    assert problem(early) == (409, "rollout-too-young")
    assert 0 < int(early.headers["retry-after"]) <= TENANT_CACHED_AT_MOST.total_seconds()


def test_a_cut_over_requires_every_vector(world: World, operator: TestClient) -> None:
    first, second = world.searchable(0), world.searchable(1)
    path = started(operator)
    world.clock.skip(TENANT_CACHED_AT_MOST)
    fill(world, first)

    refused = operator.post(f"{path}/cut-over")
    assert problem(refused) == (409, "vectors-missing")
    assert "1 images" in refused.json()["detail"]
    assert world.tenants.get("tenant_acme").model == MODEL

    assert operator.post(f"{path}/cut-over", json={"allowMissing": 1}).status_code == 200
    del second


def test_an_image_that_the_new_model_lacks_answers_so_after_a_forced_cut_over(
    world: World, operator: TestClient
) -> None:
    image_id = world.searchable(0)
    path = started(operator)
    world.clock.skip(timedelta(minutes=1))
    operator.post(f"{path}/cut-over", json={"allowMissing": 1})

    assert problem(world.client.get(f"/v1/images/{image_id}/similar")) == (409, "image-not-searchable")


def test_models_that_agree_overlap_fully(world: World, operator: TestClient) -> None:
    ids = [world.searchable(seed) for seed in range(4)]
    path = started(operator)
    fill(world, *ids)

    answer = operator.post(f"{path}/compare").json()

    assert (answer["queries"], answer["overlapAt10"]) == (4, 1.0)
    assert len(answer["least"]) == 4


def test_a_comparison_names_the_queries_that_differ_most(world: World, operator: TestClient) -> None:
    ids = [world.searchable(seed) for seed in range(14)]
    path = started(operator)
    fill(world, *ids)

    answer = operator.post(f"{path}/compare", params={"sample": 14}).json()

    assert answer["queries"] == 14
    assert 0 < answer["overlapAt10"] < 1
    shares = [one["overlap"] for one in answer["least"]]
    assert shares == sorted(shares)
    assert len(shares) == 5


@pytest.mark.parametrize(
    ("state", "step"),
    [("running", "roll-back"), ("running", "finish"), ("cut-over", "cut-over"), ("cut-over", "cancel"),
     ("cancelled", "cut-over"), ("cancelled", "cancel"), ("finished", "roll-back"), ("finished", "finish")],
)  # fmt: skip
def test_a_step_out_of_order_is_refused(world: World, operator: TestClient, state: str, step: str) -> None:
    path = started(operator)
    world.clock.skip(TENANT_CACHED_AT_MOST)
    for done in {"running": [], "cut-over": ["cut-over"], "cancelled": ["cancel"]}.get(state, ["cut-over", "finish"]):
        assert operator.post(f"{path}/{done}").status_code == 200

    assert problem(operator.post(f"{path}/{step}")) == (409, "rollout-state")
    assert operator.get(path).json()["state"] == state


def test_one_rollout_at_a_time(operator: TestClient) -> None:
    started(operator)

    assert problem(operator.post(MODELS, json=WANTED)) == (409, "rollout-running")


def test_a_model_just_cancelled_waits_until_its_vectors_are_gone(operator: TestClient) -> None:
    operator.post(f"{started(operator)}/cancel")

    again = operator.post(MODELS, json=WANTED)

    assert problem(again) == (409, "model-being-removed")
    assert again.headers["retry-after"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"model": "deeplens-visual", "version": "1"}, (409, "model-in-use")),
        ({"model": "clip-vit-base", "version": "1"}, (409, "model-not-served")),
        ({"model": "../x", "version": "1"}, (422, "invalid-request")),
        ({"model": "deeplens-visual"}, (422, "invalid-request")),
        ({**WANTED, "force": True}, (422, "invalid-request")),
    ],
)
def test_a_model_that_cannot_be_rolled_out_says_why(
    world: World, operator: TestClient, wanted: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(operator.post(MODELS, json=wanted)) == expected
    assert operator.get(MODELS).json()["rollouts"] == []


def test_a_model_that_goes_away_during_the_probe_is_an_answer(
    world: World, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.searchable(0)

    def gone(images: Any, model: Any) -> Any:
        raise ModelNotFound("unloaded")

    monkeypatch.setattr(world.embedder, "embed", gone)

    assert operator.post(MODELS, json=WANTED).status_code == 503


ROUTES = [
    ("GET", ""), ("POST", ""), ("GET", "/rol_x"), ("POST", "/rol_x/compare"), ("POST", "/rol_x/cut-over"),
    ("POST", "/rol_x/roll-back"), ("POST", "/rol_x/finish"), ("POST", "/rol_x/cancel"),
]  # fmt: skip


def call(client: TestClient, method: str, path: str) -> httpx.Response:
    return client.request(method, path, json=WANTED if path.endswith("/models") and method == "POST" else None)


def test_every_admin_route_is_known_to_these_tests(world: World) -> None:
    paths = world.admin_app.openapi()["paths"]
    found = {
        (method.upper(), path.removeprefix("/v1/admin/tenants/{tenant_id}/models").replace("{rollout_id}", "rol_x"))
        for path, methods in paths.items()
        if "/models" in path
        for method in methods
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_admin_route_answers_without_the_scope(world: World, method: str, path: str) -> None:
    key = world.api_keys.create("tenant_acme", "test", ("deeplens.api.read", "deeplens.api.write"))
    for headers, expected in (
        ({}, (401, "unauthenticated")),
        ({"X-API-Key": "dl_wrong"}, (401, "invalid-api-key")),
        ({"X-API-Key": key}, (403, "insufficient-scope")),
    ):
        assert problem(call(TestClient(world.admin_app, headers=headers), method, MODELS + path)) == expected


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_tenants_administrator_sees_no_other_tenant(world: World, method: str, path: str) -> None:
    mine = started(world.operator()).removeprefix(MODELS)
    theirs = call(world.administrator("tenant_other"), method, MODELS + path.replace("/rol_x", mine))
    nobodys = call(world.operator(), method, "/v1/admin/tenants/tenant_nobody/models" + path)

    assert problem(theirs) == problem(nobodys) == (404, "tenant-not-found")


def test_a_tenants_administrator_changes_its_own_model(world: World) -> None:
    assert started(world.administrator("tenant_acme"))


def test_a_rollout_is_not_found_under_another_tenant(world: World, operator: TestClient) -> None:
    name = started(operator).rpartition("/")[2]

    assert problem(operator.get(f"/v1/admin/tenants/tenant_other/models/{name}")) == (404, "rollout-not-found")


def test_an_operators_key_opens_no_tenants_images(world: World) -> None:
    key = world.api_keys.create(None, "operator", ("deeplens.api.admin", "deeplens.api.read"))

    assert problem(world.anonymous({"X-API-Key": key}).get("/v1/images")) == (403, "no-tenant")


def test_searches_go_on_while_a_start_probes(world: World, operator: TestClient) -> None:
    image_id = world.searchable(0)
    started(operator)

    answer = world.client.post("/v1/search/image", files={"file": picture(0)})

    assert [result["imageId"] for result in answer.json()["results"]] == [image_id]
