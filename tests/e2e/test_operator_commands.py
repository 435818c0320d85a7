"""Each command for operators on a running stack: what it shows, what it changes, and what it refuses."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer
from deeplens.bootstrap.container import Container
from deeplens.events.topics import TOPICS
from deeplens.provisioning.settle import SettleTenants

from local.operations.broker import Broker
from local.operations.topics import Topics
from local.stack.stack import Stack, settings_for
from tests.e2e.conftest import TenantClient, eventually, picture
from tests.harness.cli import Finished, deeplens

RECORDS = 6
KEY = re.compile("dl_[0-9a-f]{12}_[0-9a-f]{48}\n")
OTHERS = re.compile("users|clients|keys")


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
    return json.loads(ended.stdout)


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


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> str:
    """One tenant for all; the last test deletes it."""
    tenant_id = f"tenant_shell_{uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPLENS_STATE_DIR", str(stack.state_dir))
        created = ran("tenants", "create", "Shell", "--id", tenant_id, "--storage", "nfs")
    assert (created["tenantId"], created["status"]) == (tenant_id, "active")
    return tenant_id


def audited(parts: Container, tenant_id: str) -> list[tuple[str, str]]:
    """Actions on a tenant itself with their outcomes, the oldest first; all by the person at the shell."""
    entries = parts.audit.page(tenant_id, 2**62, 100)
    assert {entry.actor.partition(":")[0] for entry in entries} == {"shell"}
    return [(entry.action, entry.outcome) for entry in reversed(entries) if not OTHERS.search(entry.action)]


def test_users_are_created_changed_disabled_and_deleted(
    parts: Container, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = ("--tenant", tenant)
    email = f"{tenant}@example.com"

    def typed(password: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))

    typed("short")
    assert "password" in refused("users", "create", email, "--name", "Ada", "--role", "editor", *of).lower()
    typed("a long sentence of words")
    user = ran("users", "create", email, "--name", "Ada", "--role", "editor", *of)
    assert "role" in refused("users", "change", user["userId"], "--role", "platform_admin", *of).lower()
    assert ran("users", "change", user["userId"], "--role", "viewer", "--name", "Ada L", *of)["roles"] == ["viewer"]
    assert "nothing to change" in refused("users", "change", user["userId"], *of)
    assert ran("users", "disable", user["userId"], *of)["status"] == "disabled"
    assert ran("users", "enable", user["userId"], *of)["status"] == "active"
    assert [found["email"] for found in ran("users", "list", *of)] == [email]
    assert user["userId"] not in {found["userId"] for found in ran("users", "list")}
    invited = ran("users", "create", f"2.{email}", "--name", "Bea", "--role", "viewer", "--invite", *of)
    assert (invited["status"], ran("users", "invite", invited["userId"], *of)) == ("invited", invited)
    assert "There is no invitation" in refused("users", "invite", user["userId"], *of)
    assert ran("users", "email", user["userId"], f"new.{email}", *of)["email"] == email
    assert ran("users", "delete", invited["userId"], "--yes", *of) == {"deleted": invited["userId"]}
    assert "There is no user" in refused("users", "delete", user["userId"], "--yes")
    assert ran("users", "delete", user["userId"], "--yes", *of) == {"deleted": user["userId"]}
    assert ran("users", "list", *of) == []
    entries = parts.audit.page(tenant, 2**62, 100)
    assert "sentence" not in str([entry.detail for entry in entries])


def test_clients_are_registered_and_their_secrets_replaced(tenant: str) -> None:
    of = ("--tenant", tenant)
    machine = ("--grant", "client_credentials", "--scope", "deeplens.api.read")
    client = ran("clients", "create", "Importer", *machine, *of)
    assert "needs a secret" in refused("clients", "create", "App", *machine, "--public", *of)
    assert "--yes" in refused("clients", "rotate", client["clientId"], *of)
    assert ran("clients", "rotate", client["clientId"], "--yes", *of)["clientSecret"] != client["clientSecret"]
    assert [found["name"] for found in ran("clients", "list", *of)] == ["Importer"]
    assert client["clientId"] in deeplens("clients", "list", *of).output
    assert "There is no client" in refused("clients", "delete", client["clientId"], "--yes")
    assert ran("clients", "delete", client["clientId"], "--yes", *of) == {"deleted": client["clientId"]}


def test_keys_are_listed_and_revoked(parts: Container, tenant: str, client: TenantClient) -> None:
    keys = [ran("keys", "create", tenant, "--name", name)["key"] for name in ("first", "second")]
    first, second = (key.split("_")[1] for key in keys)
    assert [found["prefix"] for found in ran("keys", "list", tenant)] == [first, second]
    assert keys[0] not in deeplens("keys", "list", tenant).output
    assert "There is no live key" in refused("keys", "revoke", first, "--tenant", client.tenant.id)
    assert deeplens("keys", "revoke", first, "--tenant", tenant).exit_code == 0
    assert deeplens("keys", "revoke", second).exit_code == 0
    assert "no such key" in refused("keys", "revoke", second)
    assert ran("keys", "list", tenant) == []
    # Scripts keep what the command prints.
    assert KEY.fullmatch(deeplens("keys", "create", tenant).stdout)
    operators = ran("keys", "create")
    assert deeplens("keys", "revoke", operators["key"].split("_")[1]).exit_code == 0
    recorded = {(entry.action, entry.target, entry.outcome) for entry in parts.audit.page(None, 2**62, 100)}
    assert {("deeplens keys revoke", second, "done"), ("deeplens keys create", "cli", "done")} <= recorded


def test_existing_commands_print_json(stack: Stack, client: TenantClient) -> None:
    assert ran("status")["api"] == stack.api_url
    assert "kafka" in ran("logs")
    assert ran("dlq", "list") is not None
    assert ran("dlq", "list", "--groups") is not None
    run = ran("maintenance", "start", client.tenant.id, "--dry-run")["id"]
    assert ran("maintenance", "show", run)["dryRun"] is True
    assert run in {found["id"] for found in ran("maintenance", "list", client.tenant.id)}
    assert {"name", "dimensions"} <= ran("models", "list")[0].keys()
    assert ran("tenants", "migrate") == []


def test_a_tenant_is_suspended_resumed_limited_and_deleted_with_a_receipt(parts: Container, tenant: str) -> None:
    assert tenant in {found["tenantId"] for found in ran("tenants", "list", "--status", "active")}
    assert "tenant_shell" in deeplens("tenants", "list").output
    assert ran("tenants", "suspend", tenant)["status"] == "suspended"
    assert "suspended" in deeplens("tenants", "show", tenant).output
    assert ran("tenants", "resume", tenant)["status"] == "active"

    assert ran("tenants", "limits", tenant, "--max-images", "10", "--max-bytes", "0")["maxImages"] == 10
    changed = ran("tenants", "limits", tenant, "--max-images", "default", "--requests-per-minute", "60")
    assert changed == {"maxImages": None, "maxBytes": 0, "requestsPerMinute": 60, "maxFileBytes": None}
    assert "is no limit" in refused("tenants", "limits", tenant, "--max-images", "many")

    assert "--yes" in refused("tenants", "delete", tenant)
    assert ran("tenants", "delete", tenant, "--yes")["status"] == "deleting"
    assert "is deleting" in refused("tenants", "suspend", tenant)
    parts.build(SettleTenants).settle(tenant)
    receipt = ran("tenants", "show", tenant)
    assert (receipt["status"], "completedAt" in receipt["progress"]) == ("deleted", True)
    assert "There is no tenant" in refused("tenants", "show", "tenant_nobody")
    assert "is no id" in refused("tenants", "show", "../tenants")

    assert audited(parts, tenant) == [
        ("deeplens tenants create", "begun"),
        ("deeplens tenants create", "done"),
        ("POST /v1/admin/tenants/{tenant_id}/suspend", "begun"),
        ("POST /v1/admin/tenants/{tenant_id}/suspend", "done"),
        ("POST /v1/admin/tenants/{tenant_id}/resume", "begun"),
        ("POST /v1/admin/tenants/{tenant_id}/resume", "done"),
        *[("PUT /v1/admin/tenants/{tenant_id}/limits", outcome) for outcome in ("begun", "done")] * 2,
        ("DELETE /v1/admin/tenants/{tenant_id}", "begun"),
        ("DELETE /v1/admin/tenants/{tenant_id}", "done"),
        ("POST /v1/admin/tenants/{tenant_id}/suspend", "begun"),
        ("POST /v1/admin/tenants/{tenant_id}/suspend", "tenant-status"),
    ]
