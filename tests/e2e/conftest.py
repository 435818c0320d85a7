"""Start one stack for all end-to-end tests, and create clients of two tenants."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from deeplens.bootstrap.container import Container
from deeplens.tenants.model import Tenant
from PIL import Image

from local.stack.config import LocalConfig
from local.stack.stack import Stack
from tests.fakes.graph import ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN, GraphDouble, graph_double
from tests.harness.brokers import use_chosen
from tests.harness.webhook_endpoint import Endpoint, serving

DEADLINE_SECONDS = 180
IN_EVERY_STORE = pytest.mark.parametrize("client", ["nfs", "s3"], indirect=True)
"""For what a directory and S3 could do differently."""


def eventually[T](look: Callable[[], T], accept: Callable[[T], bool] = bool, seconds: float = DEADLINE_SECONDS) -> T:
    """Poll until the result is accepted and return it; fail the test with the last result after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if accept(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.1)


def picture(seed: int, side: int = 320, image_format: str = "JPEG") -> bytes:
    """Return a picture that is unique to its seed: smooth noise in three colours."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    out = BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, image_format)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class TenantClient:
    """A client of the API with one tenant's key, and the stack's container for assertions."""

    http: httpx.Client
    tenant: Tenant
    parts: Container

    def upload(self, body: bytes, name: str = "photo.jpg", **form: Any) -> str:
        answer = self.http.post("/images", files={"file": (name, body)}, data=form)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["imageId"])

    def image(self, image_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/images/{image_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until_ended(self, image_id: str) -> dict[str, Any]:
        return eventually(lambda: self.image(image_id), lambda image: image["status"] in ("completed", "failed"))

    def completed(self, body: bytes, **form: Any) -> str:
        image_id = self.upload(body, **form)
        assert self.until_ended(image_id)["status"] == "completed"
        return image_id

    def search(self, body: bytes, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.http.post("/search/image", files={"file": ("query.jpg", body)}, params=parameters)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["results"])

    def objects(self) -> list[str]:
        return [entry.key for entry in self.parts.stores.for_tenant(self.tenant).list()]

    def pending(self) -> int:
        """Return the accepted images of this tenant that have not ended."""
        return self.rows("SELECT * FROM pending_images WHERE tenant_id = %s", [self.tenant.id])

    def rows(self, statement: str, values: list[Any]) -> int:
        """Return the rows of a query on the platform database."""
        with self.parts.connections.platform() as connection:
            return len(connection.execute(statement, values).fetchall())  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def _broker() -> None:
    use_chosen()


@contextmanager
def one_start_at_a_time() -> Iterator[None]:
    """Lock the start of stacks: two at once would exceed the time that functions have to start."""
    with (Path(tempfile.gettempdir()) / "deeplens-e2e-start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def running_stack(graph: GraphDouble | None = None, **variables: str) -> Iterator[Stack]:
    """Start an empty stack on free ports; ``graph`` is the URL that stands in for WhatsApp's Graph API."""
    # Not pytest's own folder: a second run closes that one to the user that PostgreSQL runs as.
    state_dir = Path(tempfile.mkdtemp(prefix="deeplens-e2e-"))
    config = LocalConfig(
        state_dir=state_dir,
        api_port=0,
        inference_port=0,
        identity_port=0,
        kafka_port=0,
        postgres_port=0,
        aws_port=0,
        qdrant_port=0,
        telemetry_port=0,
        storage="nfs",
        pending_due_seconds=600,
    )
    # Webhooks of these tests are received on this machine.
    egress = {"EGRESS_ALLOWED_NETWORKS": "127.0.0.1/32", "EGRESS_HTTP": "true"}
    running = Stack(config, environment=egress | variables | (whatsapp_at(graph) if graph else {}))
    with pytest.MonkeyPatch.context() as patch, one_start_at_a_time():
        # LocalStack looks at signatures only when told to.
        patch.setenv("S3_SKIP_SIGNATURE_VALIDATION", "0")
        running.start()
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(state_dir, ignore_errors=True)


def whatsapp_at(graph: GraphDouble) -> dict[str, str]:
    return {
        "WHATSAPP_GRAPH_URL": f"{graph.url}/v1",
        "WHATSAPP_APP_SECRET": APP_SECRET,
        "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
        "WHATSAPP_ACCESS_TOKEN": ACCESS_TOKEN,
    }


@pytest.fixture(scope="session")
def graph() -> Iterator[GraphDouble]:
    with graph_double() as made:
        yield made


@pytest.fixture(scope="session")
def stack(graph: GraphDouble) -> Iterator[Stack]:
    with running_stack(graph) as running:
        yield running


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@pytest.fixture(scope="session")
def parts(stack: Stack) -> Iterator[Container]:
    made = stack.container()
    yield made
    disconnect(made)


def disconnect(parts: Container) -> None:
    """Close the producers before the broker stops, or librdkafka logs failed connections until this process ends."""
    vars(parts).pop("publisher", None)


def let_caches_expire(parts: Container, tenant_id: str) -> None:
    """Age the tenant's rollouts by the time that functions may know an older row of the tenant."""
    aged = "dual_since = dual_since - interval '30 s', ended_at = ended_at - interval '30 s'"
    with parts.connections.platform() as connection:
        connection.execute(f"UPDATE model_rollouts SET {aged} WHERE tenant_id = %s", [tenant_id])  # type: ignore[arg-type]


def new_client(stack: Stack, parts: Container, tenant_id: str, storage: str) -> TenantClient:
    tenant = parts.provisioning.provision(tenant_id, tenant_id, storage)
    key = parts.api_keys.create(tenant_id, "tests")
    http = httpx.Client(base_url=f"{stack.api_url}/v1", headers={"X-API-Key": key}, timeout=60, trust_env=False)
    return TenantClient(http, tenant, parts)


@pytest.fixture(scope="session")
def client_of(stack: Stack, parts: Container) -> Callable[[str], TenantClient]:
    return cache(lambda storage: new_client(stack, parts, f"tenant_first_{storage}", storage))


@pytest.fixture
def client(request: pytest.FixtureRequest, client_of: Callable[[str], TenantClient]) -> TenantClient:
    """A tenant with its objects in a directory, or where a test is marked so, in S3 on LocalStack as well."""
    return client_of(getattr(request, "param", "nfs"))


@pytest.fixture(scope="session")
def other(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, "tenant_other", "nfs")
