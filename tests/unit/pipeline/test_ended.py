"""An image that has ended: whatever still comes for it counts nothing twice, leaves nothing and holds up nobody."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from deeplens.errors import InvalidImage
from deeplens.events.topics import FEATURES_EXTRACTION, IMAGES_UPLOADED, PROCESSING_COMPLETED, PROCESSING_FAILED
from deeplens.images.model import Step, Tombstone

from tests.harness.machine import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


def uploaded(machine: Machine, *, good: bool = True) -> str:
    image_id = machine.new_upload(good=good)
    machine.upload(image_id)
    return image_id


def sent_again_by_the_schedule(machine: Machine) -> None:
    machine.flow.clock.skip(machine.flow.pending_due)
    machine.tick()


def step(machine: Machine, image_id: str) -> Step:
    row = machine.row(image_id)
    assert row is not None
    assert not isinstance(row, Tombstone)
    return row.step


def test_an_image_sent_again_while_it_was_in_work_counts_once_and_is_told_of_once(machine: Machine) -> None:
    image_id = uploaded(machine)
    machine.deliver(IMAGES_UPLOADED.name)
    sent_again_by_the_schedule(machine)
    for topic in (IMAGES_UPLOADED, FEATURES_EXTRACTION):
        machine.deliver(topic.name)
    machine.drain()

    completions = [record for record in machine.flow.log if record["topic"] == PROCESSING_COMPLETED.name]
    assert len(completions) == 2
    assert machine.metered("images.completed") == 1
    assert machine.told() == Counter({("image.completed", image_id): 1})


def test_an_image_that_fails_twice_in_a_generation_is_told_of_once(machine: Machine) -> None:
    image_id = uploaded(machine, good=False)
    sent_again_by_the_schedule(machine)
    machine.drain()
    assert machine.told() == Counter({("image.failed", image_id): 1})

    machine.retry(image_id)
    machine.drain()
    assert machine.told() == Counter({("image.failed", image_id): 2})


def test_a_deletion_whose_event_was_lost_is_not_pending_for_ever(machine: Machine) -> None:
    image_id = uploaded(machine)
    machine.faults.away.add("broker")
    machine.delete(image_id)
    machine.faults.away.clear()
    machine.flow.run()
    assert image_id not in machine.gone

    sent_again_by_the_schedule(machine)
    machine.flow.run()
    assert machine.flow.pending._rows == {}


def test_an_upload_repeated_while_its_image_completes_is_not_pending_for_ever(machine: Machine) -> None:
    image_id = uploaded(machine)
    with machine.faults.at(2, "meanwhile", machine.flow.run):
        machine.upload(image_id)
    assert step(machine, image_id) is Step.COMPLETED
    assert machine.flow.pending._rows

    machine.flow.run()
    assert machine.flow.pending._rows == {}


def test_an_ended_image_that_is_sent_again_makes_room_for_the_next(machine: Machine) -> None:
    """Two images of a tenant are in flight at once; the first is deleted, and nobody hears of it."""
    acme = [uploaded(machine) for _ in range(6)][::2]
    machine.faults.away.add("broker")
    machine.delete(acme[0])
    machine.faults.away.clear()
    machine.flow.run()

    assert [step(machine, image_id) for image_id in acme[1:]] == [Step.COMPLETED] * 2
    assert machine.flow.pending._rows == {}


def test_an_upload_taken_up_again_outlives_the_failure_of_its_first_try(machine: Machine) -> None:
    image_id = machine.new_upload(good=True)
    with machine.faults.at(3, "dies before"):
        machine.upload(image_id)
    ((begun, _, _),) = machine.flow.pending._rows.values()
    machine.flow.send(begun)
    machine.deliver(IMAGES_UPLOADED.name)
    machine.upload(image_id)
    machine.deliver(PROCESSING_FAILED.name)
    machine.drain()

    assert (step(machine, image_id), machine.flow.dead_letters.letters) == (Step.COMPLETED, {})


def test_an_upload_that_stopped_half_way_is_forgotten_until_it_is_taken_up_again(machine: Machine) -> None:
    image_id = machine.new_upload(good=True)
    with machine.faults.at(3, "dies before"):
        machine.upload(image_id)
    sent_again_by_the_schedule(machine)
    assert (machine.flow.pending._rows, machine.row(image_id)) == ({}, None)

    machine.upload(image_id)
    machine.drain()
    assert step(machine, image_id) is Step.COMPLETED


def test_a_failed_image_is_worked_on_in_a_newer_generation_only(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = machine.flow.embedder.embed

    def refuse(images: Sequence[bytes], _: object) -> None:
        raise InvalidImage("no usable embedding")

    monkeypatch.setattr(machine.flow.embedder, "embed", refuse)
    image_id = uploaded(machine)
    machine.drain()
    assert step(machine, image_id) is Step.FAILED

    monkeypatch.setattr(machine.flow.embedder, "embed", embed)
    before = machine.snapshot()
    machine.replay_every_topic()
    assert machine.snapshot() == before

    machine.replay()
    machine.drain()
    assert step(machine, image_id) is Step.COMPLETED


def test_what_is_searchable_did_not_fail(machine: Machine) -> None:
    """Its last event finds it failed, by a second way that it was sent: it was indexed, so it completes."""
    image_id = uploaded(machine)
    for topic in (IMAGES_UPLOADED.name, FEATURES_EXTRACTION.name, "deeplens.vectors.indexing"):
        machine.deliver(topic)
    machine.flow.clock.skip(machine.flow.pending_due)
    machine.tick()
    machine.flow.stores.for_tenant(machine.owner(image_id))._objects.clear()
    machine.flow.retry_policies = {}
    handler = machine.flow.handlers[PROCESSING_FAILED.name][0]
    handler._stage = replace(handler._stage, retry_policies={})
    machine.deliver(IMAGES_UPLOADED.name)
    machine.deliver(PROCESSING_FAILED.name)
    assert step(machine, image_id) is Step.FAILED

    machine.flow.run()
    assert step(machine, image_id) is Step.COMPLETED
    assert list(machine.points(machine.owner(image_id))) == [image_id]


def test_a_retry_that_comes_between_a_failure_and_its_end_stays_pending(machine: Machine) -> None:
    image_id = uploaded(machine, good=False)
    machine.deliver(IMAGES_UPLOADED.name)
    calls_before_finish = 5
    with machine.faults.at(calls_before_finish, "meanwhile", lambda: machine.retry(image_id)):
        machine.deliver(PROCESSING_FAILED.name)
    ((event, _, _),) = machine.flow.pending._rows.values()
    assert event.generation == 2


def test_a_late_failure_adds_nothing_to_the_history_of_a_completed_image(machine: Machine) -> None:
    image_id = uploaded(machine)
    with machine.faults.at(4, "denied"):
        machine.deliver(IMAGES_UPLOADED.name)
    machine.drain()
    (failure,) = [record for record in machine.flow.log if record["topic"] == PROCESSING_FAILED.name]
    history = machine.flow.images.timeline(machine.owner(image_id), image_id)
    assert [line.error_code for line in history if line.error_code] == ["TENANT_STORE_DENIED"]

    machine.flow.records[PROCESSING_FAILED.name].append(failure)
    machine.flow.clock.skip(timedelta(hours=1))
    machine.drain()
    assert machine.flow.images.timeline(machine.owner(image_id), image_id) == history


def test_a_late_failure_of_a_deleted_image_is_nobodys_business(machine: Machine) -> None:
    image_id = uploaded(machine, good=False)
    machine.deliver(IMAGES_UPLOADED.name)
    machine.delete(image_id)
    machine.drain()
    machine.replay_every_topic()

    assert (machine.flow.dead_letters.letters, machine.flow.retries.messages) == ({}, {})
