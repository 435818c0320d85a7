"""The synthetic prober on a running stack: by hand, and as the scheduled function does it."""

import json

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient
from tests.harness.cli import deeplens

STEPS = {"upload", "process", "search", "delete"}


def images_of_the_prober(client: TenantClient) -> list[str]:
    answer = client.http.get("/images", params={"tag": "deeplens-probe"})
    return [image["imageId"] for image in answer.json()["images"]]


def test_a_probe_finds_and_deletes_its_image(stack: Stack, other: TenantClient) -> None:
    key = other.http.headers["X-API-Key"]

    ended = deeplens("probe", "--url", stack.api_url, "--key", key, "--json")

    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    assert result["failed"] is None
    assert result["seconds"].keys() == STEPS
    assert images_of_the_prober(other) == []


def test_a_probe_that_fails_says_where(stack: Stack) -> None:
    ended = deeplens("probe", "--url", stack.api_url, "--key", "dl_0")

    assert ended.exit_code == 1
    assert "upload: POST /v1/images was answered with 401" in ended.output
