"""A sweep finds and repairs all damage of a tenant on the running stack, and the next one finds nothing."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.database.connections import connect
from deeplens.database.credentials import database_url
from deeplens.images.keys import processed_key
from deeplens.vectors.ports import Point

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture

TENANT = "tenant_damaged"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def damaged(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, TENANT, "nfs")


def swept(admin: httpx.Client, *, dry_run: bool = False) -> dict[str, Any]:
    answer = admin.post("/maintenance", json={"tenantId": TENANT, "type": "sweep", "dryRun": dry_run})
    assert answer.status_code == 202, answer.text
    run_id = answer.json()["runId"]
    return eventually(lambda: admin.get(f"/maintenance/{run_id}").json(), lambda run: run["state"] == "ended")


def make_older(parts: Container, damaged: TenantClient) -> None:
    """Three days pass for rows and files."""
    with connect(database_url(parts.connections.platform_url, f"deeplens_{TENANT}")) as connection:
        connection.execute("UPDATE images SET updated_at = updated_at - interval '3 days'")
    folder = parts.settings.nfs_root / damaged.tenant.storage_uri.partition("://")[2]
    for file in folder.rglob("*~"):
        then = file.stat().st_mtime - 3 * 86_400
        os.utime(file, (then, then))


def test_a_sweep_repairs_a_damaged_tenant(parts: Container, admin: httpx.Client, damaged: TenantClient) -> None:
    sound, unseen, thin, lost = (damaged.completed(picture(n)) for n in range(900, 904))
    store = parts.stores.for_tenant(damaged.tenant)
    store.put("images/img_orphan.jpg", picture(1), "image/jpeg")
    old = {"image_id": "img_orphan", "uploaded_at": "2020-01-01T00:00:00Z"}
    dimensions = damaged.tenant.model.dimensions
    parts.index.upsert(damaged.tenant, [Point("img_orphan", [1.0] * dimensions, old)])
    parts.index.delete(damaged.tenant, [unseen])
    store.delete([processed_key(thin), f"images/{lost}.jpg"])
    assert swept(admin)["found"] == {"vector-without-row": 1}  # everything else is too young
    parts.index.upsert(damaged.tenant, [Point("img_orphan", [1.0] * dimensions, old)])
    make_older(parts, damaged)

    expected = {
        "row-without-vector": 1,
        "row-without-derived": 1,
        "row-without-object": 1,
        "object-without-row": 1,
        "vector-without-row": 1,
    }
    assert swept(admin, dry_run=True)["found"] == expected
    assert parts.index.existing(damaged.tenant, [unseen]) == set()
    assert swept(admin)["repaired"] == expected

    eventually(lambda: parts.index.existing(damaged.tenant, [sound, unseen, thin]) == {sound, unseen, thin})
    eventually(lambda: processed_key(thin) in {entry.key for entry in store.list("processed/")})
    assert damaged.image(lost)["error"]["code"] == "OBJECT_NOT_FOUND"
    assert parts.index.count(damaged.tenant) == 3
    assert swept(admin)["found"] == {}


def test_a_receipt_tells_what_a_deletion_removed(damaged: TenantClient) -> None:
    image_id = damaged.completed(picture(950))
    assert damaged.http.delete(f"/images/{image_id}").status_code == 202
    receipt = eventually(
        lambda: damaged.http.get(f"/images/{image_id}/receipt").json(), lambda found: found["status"] == "deleted"
    )
    assert len(receipt["objects"]) == 4
    assert (receipt["vectors"], len(receipt["models"]), receipt["rowRemoved"]) == (1, 1, True)
