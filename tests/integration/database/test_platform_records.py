"""Dead letters, usage, API keys and the tenant directory, of the fakes as of PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
from deeplens.access.model import Principal
from deeplens.access.postgres import PostgresApiKeys
from deeplens.access.scopes import ADMIN, READ, WRITE
from deeplens.database.connections import Connections
from deeplens.database.credentials import password_of
from deeplens.errors import TenantNotFound
from deeplens.events.failures import SourceRecord
from deeplens.failures.model import DeadLetterEntry
from deeplens.failures.postgres import PostgresDeadLetters
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.postgres import PostgresUsage

from tests.fakes.db import FakeApiKeys, FakeDirectory, FakeUsage
from tests.fakes.failures import FakeDeadLetters
from tests.integration.conftest import TENANT_KEY

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
both = pytest.mark.parametrize("kind", ["fake", "postgres"])


class Elapsed:
    """A monotonic clock that stands until told otherwise."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Keys(Protocol):
    def create(self, tenant_id: str, name: str, scopes: Any = ..., expires_at: datetime | None = ...) -> str: ...
    def revoke(self, prefix: str) -> bool: ...
    def authenticate(self, presented: str) -> Principal | None: ...


def rows(connections: Connections, query: str, *values: object) -> list[dict[str, Any]]:
    with connections.platform() as connection:
        return connection.execute(query.encode(), values).fetchall()


def letter(letter_id: str, **changes: Any) -> DeadLetterEntry:
    values = {
        "tenant_id": "tenant_a",
        "image_id": "img_a",
        "stage": "index",
        "error_code": "MODEL_MISMATCH",
        "error_message": "512 is not 768",
        "attempt": 1,
        "failed_at": NOON,
        "source": SourceRecord(topic="deeplens.vectors.indexing", partition=1, offset=1 << 40, value="eyJ9"),
    }
    return DeadLetterEntry(id=letter_id, **{**values, **changes})


def test_a_dead_letter_is_stored_once_with_all_that_a_replay_needs(connections: Connections) -> None:
    store = PostgresDeadLetters(connections)
    store.store([letter("dlq_kept_1"), letter("dlq_kept_2", error_message="cut\x00 off", source=None, tenant_id=None)])
    store.store([letter("dlq_kept_1", error_message="another"), letter("dlq_kept_1")])
    store.store([])
    kept = rows(connections, "SELECT * FROM dead_letters WHERE id IN ('dlq_kept_1', 'dlq_kept_2') ORDER BY id")
    assert [row["error_message"] for row in kept] == ["512 is not 768", "cut� off"]
    assert kept[0]["source"]["offset"] == 1 << 40
    assert (kept[0]["failed_at"], kept[1]["tenant_id"], kept[1]["source"]) == (NOON, None, None)


def test_the_fake_keeps_the_first_dead_letter_of_an_id() -> None:
    store = FakeDeadLetters()
    store.store([letter("dlq_kept_1"), letter("dlq_kept_2")])
    store.store([letter("dlq_kept_1", error_message="another")])
    assert store.letters == {"dlq_kept_1": letter("dlq_kept_1"), "dlq_kept_2": letter("dlq_kept_2")}


@both
def test_usage_adds_up_per_tenant_day_and_metric_and_counts_an_event_once(kind: str, connections: Connections) -> None:
    meter = FakeUsage() if kind == "fake" else PostgresUsage(connections)
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    entries = [
        ("u1", "tenant_use", "images.completed", 1, NOON),
        ("u2", "tenant_use", "images.completed", 2, midnight - timedelta(seconds=1)),
        ("u3", "tenant_use", "images.completed", 4, midnight),
        ("u4", "tenant_use", "storage.bytes", 0.5, NOON),
        ("u5", "tenant_use_more", "images.completed", 8, NOON),
    ]
    meter.record([*entries, entries[0]])
    meter.record(entries[2:])
    meter.record([])
    if isinstance(meter, FakeUsage):
        totals = dict(meter.totals)
    else:
        found = rows(connections, "SELECT * FROM usage_daily WHERE tenant_id LIKE 'tenant_use%%'")
        totals = {(row["tenant_id"], row["day"].isoformat(), row["metric"]): float(row["quantity"]) for row in found}
    assert totals == {
        ("tenant_use", "2026-11-20", "images.completed"): 3,
        ("tenant_use", "2026-11-21", "images.completed"): 4,
        ("tenant_use", "2026-11-20", "storage.bytes"): 0.5,
        ("tenant_use_more", "2026-11-20", "images.completed"): 8,
    }


@both
def test_a_key_opens_its_tenant_with_its_scopes(kind: str, connections: Connections, tenant: Tenant) -> None:
    keys: Keys = FakeApiKeys() if kind == "fake" else PostgresApiKeys(connections)
    reader, admin = keys.create(tenant.id, "reader", [READ]), keys.create(tenant.id, "admin", [READ, WRITE, ADMIN])
    principal = keys.authenticate(reader)
    assert principal is not None
    assert (principal.tenant_id, principal.scopes) == (tenant.id, {READ})
    assert principal.subject != keys.authenticate(admin).subject  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="unknown scopes"):
        keys.create(tenant.id, "typo", ["deeplens.api.raed"])


@both
@pytest.mark.parametrize(
    "changed",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper(),
        lambda key: key + "\n",
        lambda key: key.replace("dl_", ""),
        lambda key: key.split("_")[0] + "_" + "0" * 12 + "_" + key.split("_")[2],
        lambda key: "dl_\x00_\ud800",
        lambda key: "",
    ],
)
def test_anything_but_the_key_opens_nothing(
    kind: str, connections: Connections, tenant: Tenant, changed: Callable[[str], str]
) -> None:
    keys: Keys = FakeApiKeys() if kind == "fake" else PostgresApiKeys(connections)
    assert keys.authenticate(changed(keys.create(tenant.id, "key"))) is None


@both
def test_an_expired_key_opens_nothing(kind: str, connections: Connections, tenant: Tenant) -> None:
    keys: Keys = FakeApiKeys() if kind == "fake" else PostgresApiKeys(connections)
    now = datetime.now(UTC)
    assert keys.authenticate(keys.create(tenant.id, "old", expires_at=now - timedelta(seconds=1))) is None
    assert keys.authenticate(keys.create(tenant.id, "new", expires_at=now + timedelta(hours=1))) is not None


def test_a_revoked_key_is_refused_after_ten_seconds_at_most(connections: Connections, tenant: Tenant) -> None:
    elapsed = Elapsed()
    keys = PostgresApiKeys(connections, elapsed)
    key = keys.create(tenant.id, "key")
    assert keys.authenticate(key) is not None
    assert keys.revoke(key.split("_")[1])
    assert not keys.revoke(key.split("_")[1])
    elapsed.seconds += 10.1
    assert keys.authenticate(key) is None
    assert PostgresApiKeys(connections).authenticate(key) is None


def test_the_database_never_holds_a_key_and_notes_its_use_once_a_minute(
    connections: Connections, tenant: Tenant
) -> None:
    key = PostgresApiKeys(connections).create(tenant.id, "key")
    prefix, secret = key.split("_")[1:]
    query = "SELECT * FROM tenant_api_keys WHERE prefix = %s"
    assert secret not in str(rows(connections, query, prefix))
    assert rows(connections, query, prefix)[0]["last_used_at"] is None
    PostgresApiKeys(connections).authenticate(key)
    first = rows(connections, query, prefix)[0]["last_used_at"]
    PostgresApiKeys(connections).authenticate(key)
    assert rows(connections, query, prefix)[0]["last_used_at"] == first is not None


def test_a_key_needs_a_tenant(connections: Connections) -> None:
    with pytest.raises(TenantNotFound):
        PostgresApiKeys(connections).create("tenant_nobody", "key")


@both
def test_the_directory_knows_active_tenants_only(kind: str, connections: Connections, tenant: Tenant) -> None:
    directory: TenantDirectory = FakeDirectory(tenant)
    if kind == "postgres":
        directory = PostgresDirectory(connections, tenant.qdrant_url)
    assert directory.get(tenant.id) == tenant
    with pytest.raises(TenantNotFound):
        directory.get("tenant_unknown")


def test_a_tenant_that_is_being_deleted_is_unknown_after_ten_seconds_at_most(
    connections: Connections, tenant: Tenant
) -> None:
    elapsed = Elapsed()
    directory = PostgresDirectory(connections, "http://qdrant", elapsed)
    assert directory.get(tenant.id).status == "active"
    rows(connections, "UPDATE tenants SET status = 'deleting' WHERE id = %s RETURNING id", tenant.id)
    elapsed.seconds += 10.1
    with pytest.raises(TenantNotFound):
        directory.get(tenant.id)


def test_a_tenant_may_live_on_servers_of_its_own(connections: Connections, tenant: Tenant) -> None:
    rows(
        connections,
        "UPDATE tenants SET database_server = 'postgresql://u:p@other:5432/postgres?sslmode=require', "
        "qdrant_url = 'http://other:6333' WHERE id = %s RETURNING id",
        tenant.id,
    )
    placed = PostgresDirectory(connections, "http://qdrant").get(tenant.id)
    assert placed.database_url == (
        f"postgresql://deeplens_{tenant.id}:{password_of(f'deeplens_{tenant.id}', TENANT_KEY)}@other:5432"
        f"/deeplens_{tenant.id}?sslmode=require"
    )
    assert placed.qdrant_url == "http://other:6333"
    rows(connections, "UPDATE tenants SET database_server = NULL WHERE id = %s RETURNING id", tenant.id)


def test_keys_are_listed_in_pages(connections: Connections, tenant: Tenant) -> None:
    keys = PostgresApiKeys(connections)
    made = [keys.create(tenant.id, f"key {number}").split("_")[1] for number in range(5)]
    found, after = [], ""
    while page := keys.of_tenant(tenant.id, after, 2):
        found += [key.prefix for key in page]
        after = page[-1].prefix
    assert found[-5:] == made
    assert len(found) == len(set(found))
    assert keys.of_tenant(tenant.id, "unknown", 2) == []
