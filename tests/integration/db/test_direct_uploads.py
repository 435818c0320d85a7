"""Rows of direct uploads on PostgreSQL, and whose store is whose."""

import pytest
from deeplens.db.connections import Connections
from deeplens.db.direct_uploads import PostgresDirectUploads
from deeplens.db.images import PostgresImages
from deeplens.domain import StageResult, Step, Tenant
from deeplens.ports import DirectUploads

from tests.unit.uploads.test_rows import NOW, DirectUploadsSuite

from .conftest import NewTenant
from .test_images import new_image


class TestPostgresDirectUploads(DirectUploadsSuite):
    @pytest.fixture
    def uploads(self, connections: Connections) -> DirectUploads:
        return PostgresDirectUploads(connections)

    @pytest.fixture
    def owner(self, new_tenant: NewTenant) -> str:
        return new_tenant().id


def test_a_store_leads_to_its_tenant(connections: Connections, new_tenant: NewTenant) -> None:
    a, b = new_tenant(), new_tenant()
    owners = PostgresDirectUploads(connections).owners([a.storage_uri, b.storage_uri, f"s3://{a.id}", "nfs://nobody"])
    assert owners == {a.storage_uri: a.id, b.storage_uri: b.id}


def test_images_are_found_by_their_digest(connections: Connections, tenant: Tenant, new_tenant: NewTenant) -> None:
    images = PostgresImages(connections)
    for name, digest in (("img_a", "1"), ("img_b", "1"), ("img_c", "2"), ("img_d", "3")):
        images.insert(tenant, new_image(name, sha256=64 * digest))
    failed = {"error_code": "X", "error_message": "x", "error_retryable": False}
    images.advance(tenant, [StageResult("img_a", 1, Step.FAILED, "preprocess", NOW, **failed)])
    images.bury(tenant, "img_c", NOW)

    found = images.with_digests(tenant, [64 * one for one in "1234"])

    assert {digest[0]: image.id for digest, image in found.items()} == {"1": "img_b", "3": "img_d"}
    assert images.with_digests(new_tenant(), [64 * "1"]) == {}
