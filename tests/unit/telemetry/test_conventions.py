"""Only listed attributes leave, and ids must look like ours."""

import pytest
from deeplens.events.notifications import TenantNotification
from deeplens.telemetry import conventions as names
from deeplens.telemetry.conventions import ALLOWED, allowed, ids_of

from tests.harness.api import START

SECRETS = (
    "file",
    "name",
    "key",
    "token",
    "text",
    "url",
    "query",
    "path",
    "user",
    "mail",
    "message",
    "stack",
    "address",
)


@pytest.mark.parametrize(
    ("attribute", "value", "leaves"),
    [
        (names.TENANT, "tenant_acme", True),
        (names.IMAGE, "img_0123abc", True),
        (names.VIDEO, "vid_1", True),
        (names.IMAGE, "holiday in Rome.jpg", False),
        (names.TENANT, "someone@example.com", False),
        (names.OFFSET, 7, True),
        (names.TOMBSTONE, True, True),
        (names.STAGE, "preprocess", True),
        (names.STAGE, "line\nbreak", False),
        (names.STAGE, "x" * 201, False),
        (names.MESSAGE_ID, "6f1f5d0e-8f0b-5d38-9f1a-5d1f3f0c7a11", True),
        (names.MESSAGE_ID, "a file name", False),
        (names.PARTITION, None, False),
        ("file.name", "cat.jpg", False),
        ("db.query.text", "SELECT 1", False),
        ("url.full", "https://example.com/?token=x", False),
        ("exception.message", "the text of a tenant", False),
        ("http.request.header.authorization", "Bearer x", False),
    ],
)
def test_an_attribute_leaves_only_if_it_is_listed_and_well_formed(attribute: str, value: object, leaves: bool) -> None:
    assert allowed({attribute: value}) == ({attribute: value} if leaves else {})  # type: ignore[dict-item]


def test_no_listed_attribute_can_hold_what_a_tenant_wrote() -> None:
    harmless = {
        *("messaging.operation.name", "messaging.destination.name", "messaging.consumer.group.name", "db.system.name"),
        *("messaging.batch.message_count", "messaging.message.id", "messaging.kafka.message.tombstone"),
        *("db.operation.name", "db.namespace", "gen_ai.provider.name", "gen_ai.operation.name"),
    }
    assert [name for name in ALLOWED if any(word in name for word in SECRETS) and name not in harmless] == []


def test_ids_of_an_event_are_those_that_it_has() -> None:
    event = TenantNotification(tenant_id="tenant_a", type="image.completed", occurred_at=START, image_id="img_1")
    assert ids_of(event) == {names.TENANT: "tenant_a", names.IMAGE: "img_1"}
    assert ids_of(object()) == {}
