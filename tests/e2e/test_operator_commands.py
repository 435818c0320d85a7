"""Each command for operators on a running stack: what it shows, what it changes, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer
from deeplens.events.topics import TOPICS

from local.operations.broker import Broker
from local.operations.topics import Topics
from local.stack.stack import Stack, settings_for
from tests.e2e.conftest import TenantClient, eventually, picture
from tests.harness.cli import Finished, deeplens

RECORDS = 6


@pytest.fixture(autouse=True)
def in_the_shell(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands find the running stack by its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(stack.state_dir))


@pytest.fixture
def scratch(stack: Stack) -> Iterator[str]:
    """A topic of one partition with six records, which no function reads."""
    name = f"scratch-{uuid4().hex[:8]}"
    assert ran("topics", "create", name, "--partitions", "1")["created"] == [name]
    producer = Producer({"bootstrap.servers": stack.environment["KAFKA_BROKERS"]})
    for number in range(RECORDS):
        event = {"tenantId": "tenant_a", "imageId": f"img_{number}", "fileName": "holiday.jpg"}
        producer.produce(name, json.dumps(event), f"tenant_a:img_{number}")
    assert producer.flush(20) == 0
    yield name
    deeplens("topics", "delete", name, "--yes")


def ran(*arguments: str) -> Any:
    """What a command that succeeds prints as JSON."""
    ended = deeplens(*arguments, "--json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.output)


def refused(*arguments: str) -> str:
    ended: Finished = deeplens(*arguments)
    assert ended.exit_code == 1, ended.output
    assert "Traceback" not in ended.output
    return ended.output


def test_topics_are_listed_and_described_and_differences_are_mended(stack: Stack) -> None:
    name = "deeplens.duplicates.found"
    topics = Topics(Broker(settings_for(stack.environment)))
    topics.change_settings(name, {"compression.type": "gzip", "retention.ms": "-1"})

    listed = {topic["name"]: topic for topic in ran("topics", "list")}
    assert {topic.name for topic in TOPICS} <= listed.keys()
    assert {drift["setting"] for drift in listed[name]["drift"]} == {"compression.type", "retention.ms"}
    assert "compression.type gzip, expected lz4" in deeplens("topics", "list").output
    described = ran("topics", "describe", name)
    assert (described["consumers"], len(described["partitions"])) == (["on_duplicates_found"], 3)
    assert "differs: compression.type gzip" in deeplens("topics", "describe", name).output

    assert "repeat the command with --yes" in refused("topics", "apply")
    assert len(ran("topics", "apply", "--dry-run")["changed"]) == 2
    assert len(ran("topics", "apply", "--yes")["changed"]) == 2
    assert ran("topics", "describe", name)["drift"] == []
    assert ran("topics", "apply") == {"created": [], "changed": [], "notChanged": [], "dryRun": False}
    assert "there is no topic nope" in refused("topics", "describe", "nope")


def test_a_topic_is_created_read_emptied_and_deleted(scratch: str) -> None:
    assert "exists" in refused("topics", "create", scratch)
    assert "topics apply" in refused("topics", "create", "deeplens.images.uploaded")

    read = deeplens("topics", "tail", scratch, "--from-beginning").output
    assert (read.count("tenantId=tenant_a"), "holiday.jpg" in read) == (RECORDS, False)
    chosen = deeplens("topics", "tail", scratch, "--from-beginning", "--image", "img_3", "--payloads", "--json").output
    assert [json.loads(line)["payload"]["fileName"] for line in chosen.splitlines()] == ["holiday.jpg"]
    assert len(deeplens("topics", "tail", scratch, "--from-beginning", "--max-messages", "2").output.splitlines()) == 2
    assert deeplens("topics", "tail", scratch, "--from-beginning", "--tenant", "tenant_b").output == ""

    assert f"{RECORDS} records, which would be lost" in refused("topics", "recreate", scratch)
    assert ran("topics", "recreate", scratch, "--yes")["records"] == RECORDS
    emptied = ran("topics", "describe", scratch)
    assert (emptied["records"], emptied["settings"]["retention.ms"]) == (0, "604800000")
    assert "--yes" in refused("topics", "delete", scratch)
    assert deeplens("topics", "delete", scratch, "--yes").exit_code == 0
    assert "there is no topic" in refused("topics", "tail", scratch)


def test_a_group_that_stopped_continues_where_it_is_told(stack: Stack, scratch: str) -> None:
    group = f"group-of-{scratch}"
    settings = {"bootstrap.servers": stack.environment["KAFKA_BROKERS"], "enable.auto.commit": False}
    consumer = Consumer(settings | {"group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([scratch])
    for _ in range(4):
        message = eventually(lambda: consumer.poll(0.1), lambda found: found is not None and not found.error())
    consumer.commit(message, asynchronous=False)

    state = ran("topics", "lag", group)
    assert (state["lag"], state["active"], state["positions"][0]["committed"]) == (RECORDS - 4, True, 4)
    assert "is active" in refused("topics", "reset", group, "--to", "earliest", "--yes")
    consumer.close()

    assert "repeat the command with --yes" in refused("topics", "reset", group, "--to", "earliest")
    assert ran("topics", "reset", group, "--to", "earliest", "--dry-run")["again"] == 4
    assert ran("topics", "lag", group)["lag"] == RECORDS - 4
    assert ran("topics", "reset", group, "--to", "2020-01-01T00:00:00Z", "--yes")["again"] == 4
    assert ran("topics", "lag", group)["lag"] == RECORDS
    assert ran("topics", "reset", group, "--to", "5", "--yes")["skipped"] == 5
    assert ran("topics", "reset", group, "--to", "latest", "--topic", scratch, "--yes")["skipped"] == 1
    states = {group["name"]: group["state"] for group in ran("topics", "lag")}
    assert states[group] == "empty"
    assert group in deeplens("topics", "lag").output
    assert "there is no group nope" in refused("topics", "reset", "nope", "--to", "latest", "--yes")


def test_the_functions_groups_are_shown_and_not_reset(stack: Stack, client: TenantClient) -> None:
    client.completed(picture(77_001))
    groups = {group["name"]: group for group in ran("topics", "lag")}
    reads = [name for name, group in groups.items() if "deeplens.images.uploaded" in str(group["positions"])]

    assert [groups[name]["active"] for name in reads] == [True]
    assert "is active" in refused("topics", "reset", reads[0], "--to", "earliest", "--yes")
    assert "deeplens.images.uploaded" in deeplens("topics", "lag", reads[0]).output
