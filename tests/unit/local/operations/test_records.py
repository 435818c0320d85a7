"""``topics tail`` shows ids, times and codes; payloads only where an operator asks for them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from local.operations.records import TopicRecord, summary, wanted

API_KEY = "dl_0f3a9b1c2d4e_" + "0f3a9b1c" * 6
SECRETS = (
    "holiday.jpg",
    "s3://bucket/images/img_1.jpg",
    "ada@example.com",
    "4915112345678@s.whatsapp.net",
    "Hello, world!",
    "/root/secret.py",
    API_KEY,
)
EVENT = {
    "tenantId": "tenant_demo",
    "imageId": "img_1",
    "fileName": "holiday.jpg",
    "storagePath": "s3://bucket/images/img_1.jpg",
    "chatJid": "4915112345678@s.whatsapp.net",
    "content": "Hello, world!",
    "metadata": {"senderName": "ada@example.com"},
    "details": {"key": API_KEY},
    "error": {"code": "STAGE_FAILED", "message": "/root/secret.py", "stackTrace": "/root/secret.py"},
    "source": {"topic": "t", "key": "4915112345678@s.whatsapp.net", "value": "SGVsbG8sIHdvcmxkIQ=="},
    "failedAt": "2026-01-14T10:30:00Z",
    "attemptNumber": 2,
}


def record(value: Any, key: bytes | None = b"tenant_demo:img_1", **headers: bytes) -> TopicRecord:
    raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    at = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
    return TopicRecord(1, 7, at, key, raw, {name.replace("_", "-"): header for name, header in headers.items()})


def test_only_ids_times_codes_and_counts_are_shown() -> None:
    shown = summary(record(EVENT, deeplens_event_id=b"abc-1", deeplens_attempt=b"2", cookie=b"secret"))
    size = len(json.dumps(EVENT))
    assert shown == {
        "partition": 1,
        "offset": 7,
        "at": "2026-01-14T10:30:00+00:00",
        "key": "tenant_demo:img_1",
        "eventId": "abc-1",
        "attempt": "2",
        "tenantId": "tenant_demo",
        "imageId": "img_1",
        "failedAt": "2026-01-14T10:30:00Z",
        "attemptNumber": 2,
        "errorCode": "STAGE_FAILED",
        "bytes": size,
    }


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ["tenantId", "status", "type", "failedAt", "attemptNumber", "error", "model"])
def test_a_secret_in_a_field_that_is_shown_is_hidden(name: str, secret: str) -> None:
    value = {"code": secret} if name == "error" else secret
    shown = summary(record({name: value}, key=secret.encode(), deeplens_stage=secret.encode(), traceparent=b"\x1b[2J"))
    text = json.dumps(shown)
    assert secret not in text
    assert "\\u001b" not in text
    assert shown["key"] == "…"


def test_payloads_are_shown_where_they_are_asked_for() -> None:
    shown = summary(record(EVENT, key=b"4915112345678@s.whatsapp.net"), payloads=True)
    assert (shown["key"], shown["payload"]) == ("4915112345678@s.whatsapp.net", EVENT)
    assert "payload" not in summary(record(EVENT))


@pytest.mark.parametrize(
    ("raw", "payload"),
    [(None, None), (b"", {"base64": ""}), (b"\xff\x00", {"base64": "/wA="}), (b"[1]", [1]), (b"7", 7)],
)
def test_a_record_that_is_no_event_is_shown_too(raw: bytes | None, payload: Any) -> None:
    shown = summary(record(raw, key=None), payloads=True)
    assert (shown["key"], shown["bytes"], shown["payload"]) == ("", len(raw or b""), payload)
    assert not wanted(record(raw), "tenant_demo", "")


@pytest.mark.parametrize(
    ("tenant", "image", "shown"),
    [
        ("", "", True),
        ("tenant_demo", "", True),
        ("", "img_1", True),
        ("tenant_demo", "img_1", True),
        ("tenant_other", "", False),
        ("tenant_demo", "img_2", False),
    ],
)
def test_records_are_chosen_by_tenant_and_image(tenant: str, image: str, shown: bool) -> None:
    assert wanted(record(EVENT), tenant, image) is shown
