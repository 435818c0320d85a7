"""Signatures as Standard Webhooks has them, and what follows from an endpoint's answers, as a table."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.errors import SecretStoreUnavailable
from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import (
    DISABLE_AFTER,
    DISABLE_AFTER_FAILURES,
    MAX_PAUSE,
    RETRY_DELAYS,
    ROTATION_OVERLAP,
    Answer,
    Delivery,
    Verdict,
    Webhook,
    WebhookSigner,
    body_of,
    delivery_id,
    judge,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOOK = Webhook("whk_1", "tenant_a", "https://example.com/", ("image.completed",), NOW)
DELIVERY = Delivery("whd_1", "whk_1", "tenant_a", "e1", "image.completed", '{"süß": 1}', NOW, NOW)
SIGNER = WebhookSigner(lambda: 32 * "k")
MINUTE = timedelta(minutes=1)
FAILING = replace(HOOK, failures=DISABLE_AFTER_FAILURES - 1, failing_since=NOW - DISABLE_AFTER)


def verified(secret: str, headers: dict[str, str], body: str) -> int:
    """How many of the signatures are the secret's, as a receiver checks them."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    good = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"].split(" ").count(good)


def test_a_message_carries_the_signature_of_its_id_time_and_body() -> None:
    headers = SIGNER.headers(HOOK, DELIVERY, NOW)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("whd_1", str(int(NOW.timestamp())))
    assert verified(SIGNER.secret(HOOK), headers, DELIVERY.body) == 1
    assert verified(SIGNER.secret(HOOK), headers, DELIVERY.body + " ") == 0
    assert verified(SIGNER.secret(HOOK), headers | {"webhook-timestamp": "1"}, DELIVERY.body) == 0


def test_every_webhook_version_and_platform_has_a_secret_of_its_own() -> None:
    other = WebhookSigner(lambda: 32 * "l")
    secrets = {
        SIGNER.secret(HOOK),
        SIGNER.secret(replace(HOOK, id="whk_2")),
        SIGNER.secret(replace(HOOK, secret_version=2)),
        other.secret(HOOK),
    }
    assert len(secrets) == 4
    assert all(24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64 for secret in secrets)


def test_after_a_rotation_both_secrets_verify_for_a_day() -> None:
    rotated = replace(HOOK, secret_version=2, previous_until=NOW + ROTATION_OVERLAP)
    during, after = (SIGNER.headers(rotated, DELIVERY, at) for at in (NOW, NOW + ROTATION_OVERLAP))
    assert [verified(SIGNER.secret(webhook), during, DELIVERY.body) for webhook in (HOOK, rotated)] == [1, 1]
    assert [verified(SIGNER.secret(webhook), after, DELIVERY.body) for webhook in (HOOK, rotated)] == [0, 1]


@pytest.mark.parametrize("key", ["", 31 * "k"])
def test_without_a_good_key_nothing_is_signed(key: str) -> None:
    with pytest.raises(SecretStoreUnavailable):
        WebhookSigner(lambda: key).secret(HOOK)


@pytest.mark.parametrize(
    ("hook", "attempts", "answer", "expected"),
    [
        (HOOK, 1, Answer(200), Verdict("delivered")),
        (FAILING, 9, Answer(204), Verdict("delivered")),
        (HOOK, 1, Answer(500), Verdict("waiting", NOW + RETRY_DELAYS[0], NOW + MINUTE)),
        (HOOK, 1, Answer(302), Verdict("waiting", NOW + RETRY_DELAYS[0], NOW + MINUTE)),
        (HOOK, 2, Answer(error="timeout"), Verdict("waiting", NOW + RETRY_DELAYS[1], NOW + MINUTE)),
        (HOOK, len(RETRY_DELAYS), Answer(500), Verdict("waiting", NOW + RETRY_DELAYS[-1], NOW + MINUTE)),
        (HOOK, len(RETRY_DELAYS) + 1, Answer(500), Verdict("failed", paused_until=NOW + MINUTE)),
        # The endpoint's pause outlasts the delivery's own delay.
        (replace(HOOK, failures=3), 1, Answer(500), Verdict("waiting", NOW + 8 * MINUTE, NOW + 8 * MINUTE)),
        (replace(HOOK, failures=99), 1, Answer(500), Verdict("waiting", NOW + MAX_PAUSE, NOW + MAX_PAUSE)),
        (HOOK, 1, Answer(410), Verdict("failed", disable="the endpoint answered 410 Gone")),
        (FAILING, 1, Answer(500), Verdict("failed", disable="20 failures in a row since 2026-11-17 12:00 UTC")),
    ],
)
def test_what_follows_from_an_answer(hook: Webhook, attempts: int, answer: Answer, expected: Verdict) -> None:
    assert judge(hook, attempts, answer, NOW) == expected


@pytest.mark.parametrize(
    "hook",
    [
        replace(FAILING, failures=DISABLE_AFTER_FAILURES - 2),
        replace(FAILING, failing_since=NOW - DISABLE_AFTER + MINUTE),
    ],
)
def test_a_webhook_is_given_up_only_after_many_failures_and_days(hook: Webhook) -> None:
    assert judge(hook, 1, Answer(500), NOW).disable is None


def test_a_message_says_what_happened_when_to_what() -> None:
    notification = TenantNotification(
        tenant_id="tenant_a", type="image.failed", occurred_at=NOW, image_id="img_1", details={"error": {"code": "X"}}
    )
    assert json.loads(body_of(notification)) == {
        "type": "image.failed",
        "timestamp": "2026-11-20T12:00:00Z",
        "data": {"tenantId": "tenant_a", "imageId": "img_1", "error": {"code": "X"}},
    }


def test_an_event_has_one_delivery_per_webhook() -> None:
    assert delivery_id("whk_1", "e1") == delivery_id("whk_1", "e1")
    assert len({delivery_id("whk_1", "e1"), delivery_id("whk_1", "e2"), delivery_id("whk_2", "e1")}) == 3
