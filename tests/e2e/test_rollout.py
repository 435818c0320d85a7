"""A rollout changes a tenant's model while clients upload and search, and while functions crash."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest
from deeplens.bootstrap.container import Container
from deeplens.embedding.model import ModelRef

from local.runner.schedule_source import schedule_event
from local.stack.stack import Stack
from tests.e2e.conftest import DEADLINE_SECONDS, TenantClient, eventually, let_caches_expire, new_client, picture

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")

OLD, NEW = ModelRef("deeplens-visual", "1", 512), ModelRef("deeplens-visual", "2", 512)
BEFORE = 12
IN_FLIGHT = 6
CRASHING = ("on_image_maintenance", "on_extraction_requested", "on_indexing_requested")


@pytest.fixture
def tenant(stack: Stack, parts: Container) -> TenantClient:
    parts.provisioning.provision("tenant_changing", "Changing", "nfs", OLD)
    return new_client(stack, parts, "tenant_changing", "nfs")


@pytest.fixture
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    key = parts.api_keys.create(None, "tests", ("deeplens.api.admin",))
    base = f"{stack.api_url}/v1/admin/tenants/tenant_changing"
    with httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=60, trust_env=False) as client:
        yield client


@dataclass
class Load:
    """Uploads and searches without pause; what a customer would call an outage is kept."""

    tenant: TenantClient
    known: str
    query: bytes
    uploaded: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stopping, self._pausing, pool = threading.Event(), threading.Event(), ThreadPoolExecutor(2)
        self._work = [pool.submit(work) for work in (self._upload, self._search)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for work in self._work:
            work.result(DEADLINE_SECONDS)

    def _upload(self) -> None:
        """A client that waits for its images: on a busy machine it uploads more slowly, and no backlog grows."""
        for seed in count(5000):
            if self._stopping.wait(1):
                return
            if self._pausing.is_set():
                continue
            if len(self.uploaded) >= IN_FLIGHT:
                self.tenant.until_ended(self.uploaded[-IN_FLIGHT])
            answer = self.tenant.http.post("/images", files={"file": ("a.jpg", picture(seed))})
            if answer.status_code == 202:
                self.uploaded.append(answer.json()["imageId"])
            else:
                self.faults.append(f"upload {answer.status_code}")

    def _search(self) -> None:
        while not self._stopping.wait(0.4):
            answer = self.tenant.http.post("/search/image", files={"file": ("q.jpg", self.query)}, params={"limit": 3})
            if answer.status_code != 200:
                self.faults.append(f"search {answer.status_code} {answer.text}")
                continue
            found = answer.json()
            self.versions.append(found["model"]["version"])
            best = found["results"][0]
            if best["imageId"] != self.known or best["score"] < 0.999 or best["match"] != "exact":
                self.faults.append(f"wrong result with model {found['model']}: {best}")

    @contextmanager
    def searches_only(self) -> Iterator[None]:
        """No uploads meanwhile: on a busy machine some image would always be on its way."""
        self._pausing.set()
        yield
        self._pausing.clear()

    def searched_with(self, version: str) -> None:
        """Wait until the six latest searches all used a version."""
        eventually(lambda: self.versions[-6:], lambda latest: set(latest) == {version} and len(latest) == 6)


def step(admin: httpx.Client, path: str) -> dict[str, Any]:
    """A step of the rollout, repeated while it has to wait; each refusal asks for more work, so not at once."""

    def attempt() -> httpx.Response:
        answer = admin.post(path)
        time.sleep(2 if answer.status_code == 409 else 0)
        return answer

    answer = eventually(attempt, lambda found: found.status_code != 409)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_model_is_changed_under_load_without_an_outage(
    stack: Stack, tenant: TenantClient, admin: httpx.Client
) -> None:
    assert stack.runner is not None
    query = picture(4000)
    known, *older = [tenant.upload(picture(4000 + seed)) for seed in range(BEFORE)]
    for image_id in (known, *older):
        assert tenant.until_ended(image_id)["status"] == "completed"

    with Load(tenant, known, query) as load:
        load.searched_with("1")
        wanted = {"model": "deeplens-visual", "version": "2"}
        estimate = admin.post("/models", json={**wanted, "dryRun": True}).json()["estimate"]
        assert estimate["images"] >= BEFORE
        assert estimate["minutes"] > 0
        begun = admin.post("/models", json=wanted)
        assert begun.status_code == 202, begun.text
        path = f"/models/{begun.json()['rollout']['rolloutId']}"

        early = admin.post(f"{path}/cut-over")
        assert (early.status_code, early.json()["type"]) == (409, "/problems/rollout-too-young")
        for name in CRASHING * 2:
            stack.runner.pools[name].kill_one()
            time.sleep(0.2)
        eventually(lambda: admin.get(path).json()["progress"]["done"], lambda done: done >= BEFORE)
        compared = admin.post(f"{path}/compare", params={"sample": 10}).json()
        assert compared["queries"] == 10
        assert 0 < compared["overlapAt10"] <= 1

        with load.searches_only():
            step(admin, f"{path}/cut-over")
        load.searched_with("2")
        step(admin, f"{path}/roll-back")
        load.searched_with("1")
        with load.searches_only():
            step(admin, f"{path}/cut-over")
        load.searched_with("2")
        done = step(admin, f"{path}/finish")
        assert done["state"] == "finished"
        load.searched_with("2")

    assert load.faults == []
    for image_id in load.uploaded:
        assert tenant.until_ended(image_id)["status"] == "completed"
    everything = {known, *older, *load.uploaded}
    now = tenant.parts.tenants.get("tenant_changing", fresh=True)
    assert (now.model, now.target) == (NEW, None)
    assert tenant.parts.index.existing(now, sorted(everything)) == everything
    assert dead_letters(tenant) == []

    old = now.using(OLD)
    assert tenant.parts.index.existing(old, [known]) == {known}

    let_caches_expire(tenant.parts, "tenant_changing")

    def tick() -> str | None:
        assert stack.runner is not None
        stack.runner.pools["on_schedule"].invoke(schedule_event())
        time.sleep(1)
        dropped: str | None = admin.get(path).json()["droppedAt"]
        return dropped

    eventually(tick)
    assert tenant.parts.vector_states.indexed(now, OLD, [known]) == set()
    assert tenant.search(query, limit=1)[0]["imageId"] == known


def dead_letters(tenant: TenantClient) -> list[dict[str, Any]]:
    with tenant.parts.connections.platform() as connection:
        found = "SELECT stage, error_code, error_message, attempt, source FROM dead_letters WHERE tenant_id = %s"
        return connection.execute(found, [tenant.tenant.id]).fetchall()
