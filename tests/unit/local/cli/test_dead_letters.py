"""``deeplens dlq`` lists, shows, replays and discards dead letters."""

import json
from typing import Any

import pytest

from local.cli import admin, dead_letters
from tests.harness.api import START, World
from tests.harness.cli import Finished, deeplens
from tests.unit.failures.test_routes import USAGE, entry, failed_image, source, status_of


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for module in (dead_letters, admin):
        monkeypatch.setattr(module, "current_container", lambda: made)
    return made


def dlq(*arguments: str) -> Finished:
    return deeplens("dlq", *arguments)


def test_open_letters_are_listed_and_counted(world: World) -> None:
    world.dead_letters.store([entry("dlq_1"), entry("dlq_2"), entry("dlq_3", error_code="INVALID_EVENT")])
    world.dead_letters.discard("dlq_2", "no", START)

    assert ("dlq_1" in dlq("list").output, "dlq_2" in dlq("list").output) == (True, False)
    assert "dlq_2" in dlq("list", "--all").output
    assert "dlq_1" not in dlq("list", "--code", "INVALID_EVENT").output
    assert "INVALID_EVENT" in dlq("list", "--groups").output


def test_a_letter_is_shown_as_json(world: World) -> None:
    world.dead_letters.store([entry()])
    shown: dict[str, Any] = json.loads(dlq("show", "dlq_1").output)
    assert (shown["topic"], shown["event"]["imageId"]) == (USAGE, "img_1")
    assert dlq("show", "dlq_none").exit_code == 1


def test_letters_are_replayed_by_id_or_filter_after_a_dry_run(world: World) -> None:
    image_id, letter = failed_image(world)
    world.dead_letters.store([entry("dlq_a")])

    dry = dlq("replay", "--tenant", "tenant_acme", "--dry-run")
    assert (dry.exit_code, "2 would be sent again" in dry.output) == (0, True)
    assert status_of(world, image_id) == "failed"
    assert dlq("replay", letter.id).exit_code == 0
    assert status_of(world, image_id) == "accepted"
    assert world.audit.entries[-2:] == [("deeplens dlq replay", "begun"), ("deeplens dlq replay", "done")]
    assert "1 sent again, 0 not" in dlq("replay", "--code", "STAGE_FAILED").output
    assert len(world.publisher.resent) == 2


def test_a_refused_replay_is_printed_and_fails_the_command(world: World) -> None:
    world.dead_letters.store([entry(source=source(USAGE, replays=3))])
    refused = dlq("replay", "dlq_1")
    assert (refused.exit_code, "after 3 replays" in refused.output) == (1, True)
    assert dlq("replay", "dlq_1", "--force").exit_code == 0
    assert dlq("replay").exit_code == 1
    assert dlq("replay", "dlq_none").exit_code == 1


def test_a_letter_is_discarded_with_its_reason(world: World) -> None:
    world.dead_letters.store([entry()])
    assert dlq("discard", "dlq_1").exit_code == 2
    assert dlq("discard", "dlq_1", "--reason", "test data").exit_code == 0
    assert world.dead_letters.kept["dlq_1"].reason == "test data"
    assert dlq("discard", "dlq_1", "--reason", "again").exit_code == 1
    route = "POST /v1/admin/dead-letters/{dead_letter_id}/discard"
    outcomes = [outcome for action, outcome in world.audit.entries if action == route]
    assert outcomes == ["begun", "done", "begun", "dead-letter-settled"]
