import pytest
from deeplens import errors
from deeplens.http.problems import from_pipeline

from tests.harness.api import World

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/", 404, "route-not-found"),
        ("GET", "/v1/nothing", 404, "route-not-found"),
        ("GET", "/v1/images/", 404, "route-not-found"),
        ("PUT", "/v1/images", 405, "method-not-allowed"),
        ("POST", "/v1/health", 405, "method-not-allowed"),
    ],
)
def test_unserved_routes_are_problems_too(world: World, method: str, path: str, status: int, problem: str) -> None:
    answer = world.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status
    assert answer.json()["type"] == f"/problems/{problem}"


def test_a_wrong_method_names_the_right_ones(world: World) -> None:
    assert "GET" in world.client.put("/v1/health").headers["allow"]


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("/v1/search/text", "text/plain", "application/json"),
        ("/v1/search/text", "application/xml", "application/json"),
        ("/v1/search/text", None, "application/json"),
        ("/v1/images", "application/json", "multipart/form-data"),
        ("/v1/images", "text/plain", "multipart/form-data"),
    ],
)
def test_a_body_of_another_media_type_is_refused_with_the_expected_one(
    world: World, path: str, sent: str | None, expected: str
) -> None:
    answer = world.client.post(path, content=b'{"text":"red"}', headers={"Content-Type": sent} if sent else {})

    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/media-type-unsupported")
    assert expected in answer.json()["detail"]
    assert (sent or "no Content-Type") in answer.json()["detail"]


@pytest.mark.parametrize("sent", ["application/json; charset=utf-8", "application/merge-patch+json"])
def test_json_by_another_name_is_read(world: World, sent: str) -> None:
    answer = world.client.post("/v1/search/text", content=b'{"unknown":"red"}', headers={"Content-Type": sent})

    assert answer.status_code == 422
    assert "#/unknown" in answer.json()["detail"]


def test_every_operation_with_a_body_documents_that_it_refuses_other_media_types(world: World) -> None:
    operations = [found for path in world.app.openapi()["paths"].values() for found in path.values()]

    assert [
        found["summary"] for found in operations if "requestBody" in found and "415" not in found["responses"]
    ] == []


def test_denied_access_is_a_security_event_that_names_the_caller(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    answer = world.administrator("tenant_acme").get("/v1/admin/tenants")

    [event] = [vars(record) for record in caplog.records if record.getMessage() == "security event"]
    assert (answer.status_code, event["security_event"], event["code"]) == (403, "access_denied", "operators-only")
    assert (event["method"], event["path"], event["tenant_id"]) == ("GET", "/v1/admin/tenants", "tenant_acme")
    assert event["subject"].startswith("key:")


def test_the_unforeseen_shows_no_trace(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("secret password")

    world.images.page = crash

    answer = world.client.get("/v1/images", headers={"X-Request-Id": "req-7"})

    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["type"] == "/problems/internal-error"
    assert answer.json()["requestId"] == answer.headers["x-request-id"] == "req-7"
    assert "secret" not in answer.text


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 101, "<script>"])
def test_every_answer_has_a_request_id_of_its_own(world: World, given: str | None) -> None:
    headers = {"X-Request-Id": given} if given is not None else {}

    ids = {world.client.get("/v1/images", headers=headers).headers["x-request-id"] for _ in range(2)}

    assert len(ids) == 2
    assert given not in ids


@pytest.mark.parametrize("path", ["/v1/images", "/v1/health", "/v1/nothing"])
def test_answers_are_neither_sniffed_nor_shared(world: World, path: str) -> None:
    headers = world.client.get(path).headers

    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["content-disposition"] == 'attachment; filename="api.json"', "a browser shows no answer as a page"


@pytest.mark.parametrize("path", ["/v1/images", "/v1/health", "/v1/nothing"])
def test_answers_are_for_this_caller_and_later_for_https_only(world: World, path: str) -> None:
    plain = world.client.get(path).headers
    secure = world.client.get(f"https://testserver{path}").headers

    for headers in (plain, secure):
        assert headers["vary"] == "Authorization, X-API-Key"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in plain
    assert secure["strict-transport-security"].startswith("max-age=31536000")


def pipeline_errors() -> list[type[errors.PipelineError]]:
    found = [errors.PipelineError]
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ in ("deeplens.errors", "deeplens.formats.errors")]


@pytest.mark.parametrize("cls", pipeline_errors())
def test_every_pipeline_error_has_an_answer(cls: type[errors.PipelineError]) -> None:
    answer = from_pipeline(cls("why"))

    assert 400 <= answer.status < 600
    assert (answer.status == 500) == (cls in (errors.PipelineError, errors.InvalidEvent))
    assert ("Retry-After" in answer.headers) == (answer.status == 503)
