"""An operator's model goes from a bucket to the endpoint, to a tenant, and to a search by text."""

from pathlib import Path

import httpx
import pytest
from deeplens.bootstrap.container import Container
from deeplens.storage.ports import ObjectStore

from local.cli.tenants import served_model
from local.models import store
from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, let_caches_expire, new_client, picture
from tests.unit.local.models.test_cli import SmallClip, small_clip  # noqa: F401

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")


@pytest.fixture
def tenant(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, "tenant_words", "nfs")


def in_a_bucket(client: TenantClient, folder: Path) -> str:
    """The folder's address after it was uploaded to S3."""
    bucket = new_bucket(client)
    for path in folder.iterdir():
        bucket.put(f"models/{path.name}", path.read_bytes(), "application/octet-stream")
    return f"{bucket.uri('models')}"


def new_bucket(client: TenantClient) -> ObjectStore:
    owner = client.parts.provisioning.provision("tenant_models", "Models", "s3")
    return client.parts.stores.for_tenant(owner)


def test_a_model_from_a_bucket_is_added_rolled_out_and_searched_by_words(
    stack: Stack,
    parts: Container,
    tenant: TenantClient,
    small_clip: SmallClip,  # noqa: F811
) -> None:
    image_id = tenant.completed(picture(9000))
    refused = tenant.http.post("/search/text", json={"text": "a harbour"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/text-unsupported")
    added = store.add(in_a_bucket(tenant, small_clip()), stack.config.models_dir, parts.settings)
    assert added.folder.is_dir()
    ref = served_model(parts, "clip-vit-base:1")
    assert parts.provisioning.provision("tenant_words_first", "Words", "nfs", ref).model == ref
    assert parts.tenants.get("tenant_words_first", fresh=True).text
    key = parts.api_keys.create("tenant_words", "tests", ("deeplens.api.admin",))
    base = f"{stack.api_url}/v1/admin/tenants/tenant_words"
    with httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=60, trust_env=False) as admin:
        begun = eventually(
            lambda: admin.post("/models", json={"model": "clip-vit-base", "version": "1"}),
            lambda answer: answer.status_code == 202,
        )
        let_caches_expire(parts, "tenant_words")
        path = f"/models/{begun.json()['rollout']['rolloutId']}"
        over = eventually(lambda: admin.post(f"{path}/cut-over"), lambda answer: answer.status_code != 409)
        assert over.json()["state"] == "cut-over"

    found = eventually(
        lambda: tenant.http.post("/search/text", json={"text": "a harbour"}), lambda answer: answer.status_code == 200
    ).json()
    assert [result["imageId"] for result in found["results"]] == [image_id]
    assert (found["model"]["name"], found["results"][0]["match"]) == ("clip-vit-base", None)
    assert tenant.search(picture(9000))[0]["score"] > 0.999
