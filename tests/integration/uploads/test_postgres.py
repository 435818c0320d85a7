"""Rows of direct uploads on PostgreSQL, and whose store is whose."""

import pytest
from deeplens.database.connections import Connections
from deeplens.images.model import StageResult, Step
from deeplens.images.postgres import PostgresImages
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import DirectUploads
from deeplens.uploads.postgres import PostgresDirectUploads

from tests.integration.conftest import NewTenant
from tests.integration.images.test_postgres import new_image
from tests.unit.uploads.test_rows import NOW, DirectUploadsSuite


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
    images.mark_deleted(tenant, "img_c", NOW)

    found = images.with_digests(tenant, [64 * digit for digit in "1234"])

    assert {digest[0]: image.id for digest, image in found.items()} == {"1": "img_b", "3": "img_d"}
    assert images.with_digests(new_tenant(), [64 * "1"]) == {}
