"""Whatever order events come in, however often, and wherever processes die: nothing is lost, and nothing counts twice.

``make test-long`` looks for longer, in histories of its own; ``DEEPLENS_HISTORIES=5000`` says in how many.
"""

import os
from datetime import timedelta
from typing import Any

import pytest
from deeplens.images.model import ImageRecord, Step, Tombstone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.harness.faults import PARTS, Mode, Part
from tests.harness.machine import Machine, complete_set

HISTORIES = int(os.environ.get("DEEPLENS_HISTORIES", "600"))
MODES: list[Mode] = ["dies before", "dies after", "answer lost", "breaks", "denied"]
NUMBERS = st.integers(0, 30)
CALLS = st.integers(1, 25)


class AnyOrder(RuleBasedStateMachine):
    """Uploads, deliveries, deletions and accidents, one after the other; then everything has to add up."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()

    @property
    def images(self) -> list[str]:
        return list(self.machine.uploads)

    @precondition(lambda self: len(self.images) < 6)
    @rule(good=st.booleans() | st.just(True))
    def upload(self, good: bool) -> None:
        self.machine.upload(self.machine.new_upload(good=good))

    @precondition(lambda self: len(self.images) < 6)
    @rule(call=CALLS, mode=st.sampled_from(MODES))
    def upload_with_an_accident(self, call: int, mode: Mode) -> None:
        with self.machine.faults.at(call, mode):
            self.machine.upload(self.machine.new_upload(good=True))

    @precondition(lambda self: self.images)
    @rule(image=NUMBERS)
    def upload_again(self, image: int) -> None:
        self.machine.upload(self._image(image))

    @precondition(lambda self: self.machine.topics)
    @rule(topic=NUMBERS, order=st.lists(NUMBERS, max_size=4), count=st.none() | st.integers(1, 3))
    def deliver(self, topic: int, order: list[int], count: int | None) -> None:
        self.machine.deliver(self._topic(topic), order, count)

    @precondition(lambda self: self.machine.topics)
    @rule(topic=NUMBERS, order=st.lists(NUMBERS, max_size=4), call=CALLS, mode=st.sampled_from(MODES))
    def deliver_with_an_accident(self, topic: int, order: list[int], call: int, mode: Mode) -> None:
        with self.machine.faults.at(call, mode):
            self.machine.deliver(self._topic(topic), order)

    @precondition(lambda self: self.machine.topics and self.images)
    @rule(topic=NUMBERS, call=CALLS, image=NUMBERS, what=st.sampled_from(["delete", "retry", "upload"]))
    def deliver_while_a_user_acts(self, topic: int, call: int, image: int, what: str) -> None:
        with self.machine.faults.at(call, "meanwhile", lambda: getattr(self.machine, what)(self._image(image))):
            self.machine.deliver(self._topic(topic))

    @precondition(lambda self: self.images)
    @rule(call=st.integers(1, 6), image=NUMBERS, topic=NUMBERS, what=st.sampled_from(["delete", "retry", "upload"]))
    def act_while_the_pipeline_works(self, call: int, image: int, topic: int, what: str) -> None:
        def work() -> None:
            self.machine.flow.forward()
            for _ in range(topic % 4 + 1):
                for name in self.machine.topics:
                    self.machine.deliver(name)

        with self.machine.faults.at(call, "meanwhile", work):
            getattr(self.machine, what)(self._image(image))

    @precondition(lambda self: self.machine.flow.log)
    @rule(record=st.integers(0, 100))
    def deliver_again(self, record: int) -> None:
        self.machine.again(record)

    @precondition(lambda self: self.images)
    @rule(image=NUMBERS)
    def delete(self, image: int) -> None:
        self.machine.delete(self._image(image))

    @precondition(lambda self: self.images)
    @rule(image=NUMBERS, call=st.integers(1, 6), mode=st.sampled_from(MODES))
    def retry_with_an_accident(self, image: int, call: int, mode: Mode) -> None:
        with self.machine.faults.at(call, mode):
            self.machine.retry(self._image(image))

    @precondition(lambda self: self.images)
    @rule(image=NUMBERS)
    def retry(self, image: int) -> None:
        self.machine.retry(self._image(image))

    @precondition(lambda self: self.machine.flow.dead_letters.kept)
    @rule()
    def replay(self) -> None:
        self.machine.replay()

    @rule(part=st.sampled_from(PARTS))
    def part_goes(self, part: Part) -> None:
        self.machine.faults.away.add(part)

    @precondition(lambda self: self.machine.faults.away)
    @rule()
    def parts_come_back(self) -> None:
        self.machine.faults.away.clear()

    @rule(minutes=st.sampled_from([1, 11, 60]))
    def time_passes(self, minutes: int) -> None:
        self.machine.flow.clock.skip(timedelta(minutes=minutes))
        self.machine.tick()

    @precondition(lambda self: self.machine.flow.retries.messages)
    @rule(times=st.integers(1, 2))
    def delay_queue(self, times: int) -> None:
        self.machine.flow.clock.skip(timedelta(minutes=1))
        self.machine.receive(times=times)

    @precondition(lambda self: self.images)
    @rule()
    def quiet_hour(self) -> None:
        self.machine.drain()

    def teardown(self) -> None:
        self.machine.drain()
        check(self.machine)
        self.machine.sweep()
        check(self.machine, swept=True)
        before = self.machine.snapshot()
        self.machine.replay_every_topic()
        after = self.machine.snapshot()
        assert {name: after[name] for name in after if after[name] != before[name]} == {}

    def _image(self, number: int) -> str:
        return self.images[number % len(self.images)]

    def _topic(self, number: int) -> str:
        return self.machine.topics[number % len(self.machine.topics)]


def check(machine: Machine, *, swept: bool = False) -> None:
    """What holds when all is quiet."""
    for image_id in machine.uploads:
        check_image(machine, image_id, swept=swept)
    check_no_orphans(machine, swept=swept)
    check_totals(machine)


def check_image(machine: Machine, image_id: str, *, swept: bool) -> None:
    row, owner = machine.row(image_id), machine.owner(image_id)
    objects, vector = machine.objects(owner).get(image_id, set()), machine.points(owner).get(image_id)
    if image_id in machine.gone or (isinstance(row, Tombstone) and swept):
        assert isinstance(row, Tombstone), f"{image_id} was deleted"
        assert row.receipt is not None, f"{image_id} has no receipt"
        assert (objects, vector) == (set(), None)
    elif isinstance(row, ImageRecord) and row.step is Step.COMPLETED:
        assert (objects, bool(vector), row.error_code) == (complete_set(image_id), True, None)
    elif isinstance(row, ImageRecord):
        assert row.step is Step.FAILED, f"{image_id} is stuck at {row.step.name}"
        assert row.error_code
        assert vector is None, f"{image_id} failed but is found"
        assert f"images/{image_id}.jpg" in objects
        check_replayable(machine, image_id)
    else:
        assert image_id not in machine.accepted or isinstance(row, Tombstone), f"{image_id} is lost"


def check_replayable(machine: Machine, image_id: str) -> None:
    letters = [letter for letter in machine.flow.dead_letters.kept.values() if letter.image_id == image_id]
    assert letters, f"{image_id} has no dead letter"
    verdicts = machine.would_replay(letters)
    assert None in verdicts, f"no letter of {image_id} can be replayed: {verdicts}"


def check_no_orphans(machine: Machine, *, swept: bool) -> None:
    rows: dict[str, Any] = {image_id: machine.row(image_id) for image_id in machine.uploads}
    for owner in machine.owners:
        mine = {i for i, row in rows.items() if isinstance(row, ImageRecord) and machine.owner(i).id == owner.id}
        found = {i for i in mine if rows[i].step is Step.COMPLETED}
        half_done = set() if swept else set(rows) - mine - machine.gone
        assert set(machine.points(owner)) - half_done == found
        assert set(machine.objects(owner)) - half_done == mine
    assert machine.flow.pending._rows == {}


def check_totals(machine: Machine) -> None:
    """Usage and notifications: once per image that was completed, deleted meanwhile or not."""
    told, total = machine.told(), machine.metered("images.completed")
    done = [i for i in machine.uploads if isinstance(r := machine.row(i), ImageRecord) and r.step is Step.COMPLETED]
    assert len(done) <= total <= len(done) + len(machine.asked_to_go)
    for image_id in done:
        expected = int(machine.owner(image_id).id == machine.flow.acme.id)
        assert told["image.completed", image_id] == expected, f"{image_id}: {told}"
    assert max((told[kind, i] for kind, i in told if kind == "image.completed"), default=0) <= 1


def searched(machine: type[RuleBasedStateMachine], *, histories: int, derandomize: bool) -> Any:
    case = machine.TestCase
    case.settings = settings(
        max_examples=histories,
        stateful_step_count=40,
        derandomize=derandomize,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return case


class AnyOrderAtRandom(AnyOrder):
    """The same, with histories that no run had before."""


TestAnyOrder = searched(AnyOrder, histories=40, derandomize=True)
TestAnyOrderAtRandom = pytest.mark.long(searched(AnyOrderAtRandom, histories=HISTORIES, derandomize=False))
