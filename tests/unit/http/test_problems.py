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


@pytest.mark.parametrize("path", ["/v1/images", "/v1/health", "/v1/nothing"])
def test_answers_are_for_this_caller_and_later_for_https_only(world: World, path: str) -> None:
    plain = world.client.get(path).headers
    secure = world.client.get(f"https://testserver{path}").headers

    for headers in (plain, secure):
        assert headers["vary"] == "Authorization, X-API-Key"
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
