"""Which of a tenant's stores a path leads to after it gave a store of its own to be managed."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deeplens.egress.rules import EgressRules
from deeplens.embedding.model import ModelRef
from deeplens.errors import InvalidEvent
from deeplens.settings import Settings
from deeplens.stores.model import TenantStore
from deeplens.stores.resolver import OpenStores, Stores
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeDirectory
from tests.fakes.stores import FakeRegisteredStores

FIRST = TenantStore(
    "sto_a", "tenant_acme", "nfs", "managed", "scans", datetime(2026, 11, 20, tzinfo=UTC), former_uri="nfs://acme-123"
)
SECOND = replace(FIRST, id="sto_b", former_uri="nfs://sto_a")


@pytest.mark.parametrize("current", ["nfs://sto_a", "nfs://sto_b"])
def test_what_was_written_before_lies_in_the_bucket_that_the_registration_names(tmp_path: Path, current: str) -> None:
    registered = FakeRegisteredStores(FakeDirectory())
    for store in (FIRST, SECOND):
        registered.save(store)
    settings = Settings(nfs_root=tmp_path / "own", tenant_nfs_root=tmp_path / "tenants")
    stores = Stores(settings, OpenStores(settings, lambda: registered, lambda: None, EgressRules()))  # type: ignore[arg-type, return-value]
    tenant = Tenant("tenant_acme", "Acme", "active", "", current, "", ModelRef("m", "1", 8))

    assert stores.holding(tenant, "nfs://acme-123/images/a.jpg").key_of("nfs://acme-123/images/a.jpg") == "images/a.jpg"
    for uri in ("nfs://tenant-acme/a.jpg", "nfs://acme-1234/a.jpg", "s3://acme-123/a.jpg", "nfs://acme-123"):
        with pytest.raises(InvalidEvent):
            stores.holding(tenant, uri).key_of(uri)
