"""A scheduled job is told which of its events were delivered; an event's own id is kept."""

from collections.abc import Sequence

from deeplens.bootstrap.handlers import _ran
from deeplens.common.outgoing import OutgoingMessage
from deeplens.events.usage import TenantUsage
from deeplens.usage.model import usage_event

from tests.harness.api import START, RecordingPublisher

TIME = "2026-11-20T10:30:00Z"


class Job:
    name = "job"

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self) -> list[TenantUsage]:
        return [usage_event("tenant_acme", {"m": n}, START, event_id) for n, event_id in enumerate(["own", "", "lost"])]

    def delivered(self, events: Sequence[TenantUsage]) -> None:
        self.told += [event.metric + str(event.quantity) for event in events]


class Forgetful(RecordingPublisher):
    """Loses the last message of each."""

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        self.sent += messages
        return [True] * (len(messages) - 1) + [False]


class Silent(Job):
    delivered = None  # type: ignore[assignment]


def test_a_job_learns_what_was_delivered() -> None:
    job, publisher = Job(), Forgetful()

    assert _ran(job, publisher, TIME)

    assert job.told == ["m0.0", "m1.0"]
    assert publisher.sent[0].event_id == "own"


def test_ids_that_follow_from_the_time_are_the_same_again() -> None:
    ids = []
    for _ in range(2):
        publisher = RecordingPublisher()
        assert _ran(Job(), publisher, TIME)
        ids.append([message.event_id for message in publisher.sent])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


def test_a_job_that_cannot_note_it_has_failed() -> None:
    assert not _ran(Silent(), RecordingPublisher(), TIME)
