"""A function reads a secret when it first needs it, and the administrator's only to provision."""

from collections.abc import Callable
from typing import Any

import pytest
from deeplens.bootstrap.container import Container
from deeplens.database.credentials import database_url
from deeplens.errors import DatabaseUnavailable
from deeplens.provisioning.provision import database_of
from deeplens.settings import Settings
from deeplens.tenants.directory import tenant_of

SECRETS = {
    "arn:role": '{"url": "postgresql://deeplens_operations@h/p?sslmode=verify-full", "password": "of the role"}',
    "arn:other": '{"url": "postgresql://deeplens_search@h/p", "password": "other"}',
    "arn:admin": "postgresql://admin:secret@h/p",
}
ROLE_URL = "postgresql://deeplens_operations:of%20the%20role@h/p?sslmode=verify-full"
ROW: dict[str, Any] = {
    **dict.fromkeys(
        ("database_server", "qdrant_url", "thresholds", "text", "target_name", "ingestion_paused", "chats")
    ),
    "id": "tenant_a",
    "name": "A",
    "status": "active",
    "database_name": "deeplens_tenant_a",
    "storage_uri": "s3://a",
    "model_name": "m",
    "model_version": "1",
    "model_dimensions": 8,
    "schema_version": "1",
    "limits": {},
    "notified": [],
    "duplicates": {},
    "video": {},
}


class Recorded(Container):
    """A container whose Secrets Manager is a dictionary; it records what was read."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.read: list[str] = []

    def aws(self, service: str) -> Callable[[], Any]:
        assert service == "secretsmanager"
        return lambda: self

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        self.read.append(SecretId)
        return {"SecretString": SECRETS[SecretId]}


def container(**given: str) -> Recorded:
    return Recorded(Settings(database_secret_arn="arn:role", **given))  # type: ignore[arg-type]


def test_queries_use_the_role_and_provisioning_fetches_the_administrator_when_it_needs_it() -> None:
    made = container(database_admin_secret_arn="arn:admin")
    assert made.connections.platform_url == ROLE_URL
    assert made.read == ["arn:role"]
    assert database_of(ROW, made.connections).url == database_url(SECRETS["arn:admin"], "deeplens_tenant_a")
    assert made.read == ["arn:role", "arn:admin"]


def test_a_function_without_the_administrator_provisions_with_its_role_which_may_not() -> None:
    assert database_of(ROW, container().connections).url == database_url(ROLE_URL, "deeplens_tenant_a")


def test_a_function_without_the_tenants_key_knows_a_tenant_but_opens_no_database_of_it() -> None:
    connections = container().connections
    tenant = tenant_of(ROW, connections, "http://q")
    assert (tenant.id, tenant.database_url) == ("tenant_a", "")
    with pytest.raises(DatabaseUnavailable, match="TENANT_DATABASE_KEY"), connections.tenant(tenant):
        pass


def test_migrations_read_the_secret_of_every_role() -> None:
    made = container(database_role_secret_arns="arn:role, arn:other")
    assert made.platform_role_urls == [ROLE_URL, "postgresql://deeplens_search:other@h/p"]
