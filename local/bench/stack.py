"""Start a separate stack for a bench, with free ports, a temporary folder and one tenant."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from deeplens.bootstrap.container import Container
from deeplens.tenants.model import Tenant

from local.cli.screen import console
from local.stack.config import LocalConfig
from local.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class Bench:
    """A running stack with a tenant and a client of its API."""

    stack: Stack
    container: Container
    tenant: Tenant
    http: httpx.Client


@contextmanager
def bench_stack(*, telemetry: bool = True) -> Iterator[Bench]:
    """Yield a running stack, with or without traces; stop it and delete its data afterwards."""
    ports = dict.fromkeys(
        (
            "api_port",
            "identity_port",
            "inference_port",
            "kafka_port",
            "postgres_port",
            "aws_port",
            "qdrant_port",
            "telemetry_port",
        ),
        0,
    )
    with tempfile.TemporaryDirectory(prefix="deeplens-bench-", ignore_cleanup_errors=True) as folder:
        stack = Stack(LocalConfig(state_dir=Path(folder), storage="nfs", telemetry=telemetry, **ports))  # type: ignore[arg-type]
        with console.status("starting a stack for the bench"):
            stack.start()
        try:
            container = stack.container()
            tenant = container.provisioning.provision("tenant_bench", "Bench", "nfs")
            headers = {"X-API-Key": container.api_keys.create(tenant.id, "bench")}
            with httpx.Client(base_url=f"{stack.api_url}/v1", headers=headers, timeout=60, trust_env=False) as http:
                yield Bench(stack, container, tenant, http)
        finally:
            stack.stop()
