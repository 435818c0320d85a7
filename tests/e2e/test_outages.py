"""Accepted uploads complete although dependencies are unavailable for a while, and none becomes a dead letter."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count as count_from

import httpx
import psutil
import pytest
from deeplens.bootstrap.container import Container

from local.services.process import ChildService
from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture

# A part that accepts connections and answers nothing has to outlast the timeouts of its clients.
AWAY_SECONDS = {"killed": 3.0, "stopped": 8.0}
OUTAGES = [("postgres", "killed"), ("postgres", "stopped"), ("vectors", "killed"), ("inference", "killed")]
# LocalStack is stopped, not killed: its buckets would be gone, which no outage of S3 does.
OUTAGES += [("inference", "stopped"), ("localstack", "stopped")]


@contextmanager
def away(service: ChildService, how: str) -> Iterator[None]:
    """Refusing connections, or accepting them and answering nothing."""
    if how == "killed":
        service.kill()
    else:
        _signal(service, signal.SIGSTOP)
    try:
        yield
    finally:
        if how == "killed":
            service.launch()
            service.wait_ready()
        else:
            _signal(service, signal.SIGCONT)


def _signal(service: ChildService, number: signal.Signals) -> None:
    assert service.pid is not None
    process = psutil.Process(service.pid)
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            member.send_signal(number)


class Uploading(threading.Thread):
    """Someone who uploads picture after picture, each under a key of its own, and notes the answers."""

    def __init__(self, client: TenantClient, seeds: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self.client, self.seeds, self.enough = client, seeds, threading.Event()
        self.answers: dict[str, httpx.Response] = {}
        self.bodies: dict[str, bytes] = {}

    def run(self) -> None:
        while not self.enough.wait(0.3):
            seed = next(self.seeds)
            key = f"outage-{seed}"
            self.bodies[key] = picture(seed, side=128)
            self.answers[key] = self.send(key)

    def send(self, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key}
        return self.client.http.post("/images", files={"file": ("a.jpg", self.bodies[key])}, headers=headers)

    def accepted(self) -> list[str]:
        """Ids of all, once those that were refused have been sent again under their keys."""
        for key, answer in self.answers.items():
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                self.answers[key] = eventually(lambda key=key: self.send(key), lambda a: a.status_code == 202)  # type: ignore[misc]
        return [answer.json()["imageId"] for answer in self.answers.values()]


@pytest.fixture(scope="module")
def patient(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, "tenant_patient", "s3")


@pytest.mark.parametrize(("part", "how"), OUTAGES, ids=lambda value: value)
def test_what_is_accepted_while_a_part_is_away_completes(
    stack: Stack, patient: TenantClient, part: str, how: str
) -> None:
    number = OUTAGES.index((part, how))
    before = patient.rows("SELECT 1 FROM dead_letters WHERE tenant_id = %s", [patient.tenant.id])
    uploading = Uploading(patient, count_from(100_000 * (number + 1)))
    uploading.start()
    eventually(lambda: uploading.answers)
    with away(stack.service(part), how):
        back_at = time.monotonic() + AWAY_SECONDS[how]
        eventually(lambda: time.monotonic() >= back_at)
    count = len(uploading.answers)
    eventually(lambda: len(uploading.answers) > count + 1)
    uploading.enough.set()
    uploading.join(60)

    assert not uploading.is_alive()
    assert {answer.status_code for answer in uploading.answers.values()} <= {202, 503}
    ids = uploading.accepted()
    statuses = {image_id: eventually(lambda i=image_id: _ended(patient, i)) for image_id in ids}  # type: ignore[misc]
    assert set(statuses.values()) == {"completed"}
    assert patient.parts.index.existing(patient.tenant, ids) == set(ids)
    assert patient.rows("SELECT 1 FROM dead_letters WHERE tenant_id = %s", [patient.tenant.id]) == before
    eventually(patient.pending, lambda left: left == 0)


def _ended(client: TenantClient, image_id: str) -> str | None:
    """How an image ended; None while it has not, or while the API cannot say."""
    answer = client.http.get(f"/images/{image_id}")
    status = answer.json().get("status")
    return status if status in ("completed", "failed") else None
