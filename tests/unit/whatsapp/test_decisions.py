"""Rules, commands, answers and tries again: pure decisions, as tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.errors import SecretStoreUnavailable
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.tenants.limits import Storage
from deeplens.whatsapp.answers import ChatTally, Found, command_of, matches, status
from deeplens.whatsapp.chats import (
    DEFAULT,
    MAX_CHECK_DELAY,
    MIN_CHECK_DELAY,
    RETRY_DELAYS,
    Rule,
    Sent,
    Verdict,
    judge,
    next_check,
    rule_for,
)
from deeplens.whatsapp.incoming import WhatsAppSecrets

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MESSAGE = WhatsAppMessage(
    message_id="wamid.1",
    chat_jid="team@g.us",
    from_me=False,
    message_type="image",
    content="Straße 7",
    timestamp=1,
    metadata={"isGroup": True, "sender": "491511234567"},
)


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"types": ("image", "video")}, True),
        ({"types": ("text",)}, False),
        ({"senders": ("491511234567",)}, True),
        ({"senders": ("4915112345",)}, False),
        ({"groups": ("team@g.us",)}, True),
        ({"groups": ("other@g.us",)}, False),
        ({"in_group": True}, True),
        ({"in_group": False}, False),
        ({"text": "STRASSE"}, True),
        ({"text": "avenue"}, False),
        ({"types": ("image",), "in_group": True, "text": "7"}, True),
        ({"types": ("image",), "in_group": True, "text": "8"}, False),
    ],
)
def test_a_rule_fits_when_every_condition_does(conditions: dict[str, Any], fits: bool) -> None:
    rule = Rule("rul_1", "tenant_acme", 1, ("ignore",), **conditions)
    assert rule.fits(MESSAGE) is fits
    assert rule_for([rule], MESSAGE) is (rule if fits else DEFAULT)


def test_rules_are_asked_by_position_then_id() -> None:
    rules = [Rule(id, "tenant_acme", position, ("ignore",)) for id, position in (("c", 2), ("b", 1), ("a", 1))]
    assert rule_for(rules, MESSAGE).id == "a"
    assert rule_for([replace(rules[2], types=("text",)), *rules[:2]], MESSAGE).id == "b"


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("find", "find"),
        (" /HELP ", "help"),
        ("Status", "status"),
        ("status?", None),
        ("find me", None),
        ("", None),
        (None, None),
    ],
)
def test_commands_stand_alone(content: str | None, command: str | None) -> None:
    assert command_of(MESSAGE.model_copy(update={"content": content})) == command


@pytest.mark.parametrize(
    ("attempts", "sent", "expected"),
    [
        (1, Sent(), Verdict("sent")),
        (1, Sent("HTTP 400"), Verdict("failed", error="HTTP 400")),
        (1, Sent("timeout", transient=True), Verdict("waiting", NOW + RETRY_DELAYS[0], "timeout")),
        (len(RETRY_DELAYS), Sent("timeout", transient=True), Verdict("waiting", NOW + RETRY_DELAYS[-1], "timeout")),
        (len(RETRY_DELAYS) + 1, Sent("timeout", transient=True), Verdict("failed", error="timeout")),
    ],
)
def test_judge(attempts: int, sent: Sent, expected: Verdict) -> None:
    assert judge(attempts, sent, NOW) == expected


@pytest.mark.parametrize(
    ("waited", "expected"),
    [
        (timedelta(0), MIN_CHECK_DELAY),
        (timedelta(minutes=10), timedelta(minutes=10)),
        (timedelta(days=3), MAX_CHECK_DELAY),
    ],
)
def test_next_check(waited: timedelta, expected: timedelta) -> None:
    assert next_check(NOW - waited, NOW) == NOW + expected


def test_answers_name_what_was_found_and_what_there_is() -> None:
    found = [Found("img_1", "a.jpg", 0.987, "exact"), Found("img_2", "b.jpg", 0.5)]
    assert matches(found).splitlines()[1:] == ["1. a.jpg, exact, 0.99 (img_1)", "2. b.jpg, 0.50 (img_2)"]
    said = status("Acme", Storage(3, 2_500_000), 7, ChatTally(1, 2, 0))
    assert said.splitlines() == [
        "Acme has 3 images, 2.5 MB, room for 7 more.",
        "From this chat: 2 searchable, 1 in progress, 0 failed.",
    ]


def test_secrets_that_are_set_stand_over_those_that_are_kept() -> None:
    kept = '{"appSecret": "a", "verifyToken": "v", "accessToken": "t", "other": 1}'
    assert WhatsAppSecrets(app_secret="own").with_defaults(kept) == WhatsAppSecrets("own", "v", "t")
    assert WhatsAppSecrets("a", "b", "c").with_defaults("") == WhatsAppSecrets("a", "b", "c")
    assert "own" not in repr(WhatsAppSecrets("own", "own", "own"))
    for wrong in ("no json", "[]"):
        with pytest.raises(SecretStoreUnavailable):
            WhatsAppSecrets().with_defaults(wrong)
