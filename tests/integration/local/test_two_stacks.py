"""Two stacks in one process are independent: each is reached at its own addresses."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deeplens.aws.clients import client
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.model import Tenant

from local.operations.migrations import migrate_platform
from local.stack.config import LocalConfig
from local.stack.stack import Stack, ignore_progress, settings_for
from tests.integration.local.test_services import stack_ports


@contextmanager
def started() -> Iterator[Stack]:
    """Start a stack with its databases, index and LocalStack, but without functions."""
    # Not pytest's own folder: a second run closes that one to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="deeplens-stacks-"))
    elsewhere = {"KAFKA_BROKERS": "127.0.0.1:9", "INFERENCE_URL": "http://127.0.0.1:9"}
    stack = Stack(LocalConfig(state_dir=folder, **stack_ports()), {**os.environ, **elsewhere})
    try:
        stack._start_services(ignore_progress)
        own = settings_for(stack.environment)
        migrate_platform(own.database_url)
        # As the runner does; a new bucket is told to notify it.
        client("sqs", own).create_queue(QueueName="ObjectQueue")
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def provisioned(stack: Stack) -> tuple[Tenant, ObjectStore]:
    parts = stack.container()
    tenant = parts.provisioning.provision("tenant_same", "Same", "s3")
    return tenant, parts.stores.for_tenant(tenant)


def test_two_stacks_of_one_process_are_both_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = dict(os.environ)
    with started() as first:
        (tenant, store), secrets = provisioned(first), first.container().secret_store
        store.put("a", b"of the first", "text/plain")
        secrets.put("deeplens/same", "of the first")

        # Nothing that was used above counts as an address that the user has set.
        with started() as second:
            assert {service.name for service in second.services} == {service.name for service in first.services}
            (other, others_store), others_secrets = provisioned(second), second.container().secret_store
            assert [*others_store.list()] == []
            others_store.put("a", b"of the second", "text/plain")
            others_secrets.put("deeplens/same", "of the second")

            assert (store.get("a"), others_store.get("a")) == (b"of the first", b"of the second")
            assert (secrets.get("deeplens/same"), others_secrets.get("deeplens/same")) == (
                "of the first",
                "of the second",
            )
            assert tenant.database_url != other.database_url

        assert first.container().stores.for_tenant(tenant).get("a") == b"of the first"
    assert dict(os.environ) == environment
