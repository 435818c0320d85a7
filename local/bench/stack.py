"""A stack of its own for a bench: free ports, a temporary folder, one tenant."""

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
    parts: Container
    tenant: Tenant
    http: httpx.Client


@contextmanager
def bench_stack() -> Iterator[Bench]:
    """Start a stack, give it away, stop it and forget its data."""
    ports = dict.fromkeys(
        ("api_port", "identity_port", "inference_port", "kafka_port", "postgres_port", "aws_port", "qdrant_port"), 0
    )
    with tempfile.TemporaryDirectory(prefix="deeplens-bench-", ignore_cleanup_errors=True) as folder:
        stack = Stack(LocalConfig(state_dir=Path(folder), storage="nfs", **ports))  # type: ignore[arg-type]
        with console.status("starting a stack for the bench"):
            stack.start()
        try:
            parts = stack.container()
            tenant = parts.provisioning.provision("tenant_bench", "Bench", "nfs")
            headers = {"X-API-Key": parts.api_keys.create(tenant.id, "bench")}
            with httpx.Client(base_url=f"{stack.api_url}/v1", headers=headers, timeout=60, trust_env=False) as http:
                yield Bench(stack, parts, tenant, http)
        finally:
            stack.stop()
