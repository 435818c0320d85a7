"""The webhook: Meta's handshake, signatures, and messages that are queued whole or posted again."""

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest
from deeplens.whatsapp.app import create_whatsapp_app
from deeplens.whatsapp.incoming import WhatsAppSecrets
from starlette.testclient import TestClient

from tests.harness.api import World
from tests.unit.whatsapp.test_incoming import payload, photo, text

PATH = "/v1/whatsapp/webhook"
SECRETS = WhatsAppSecrets("app secret", "verify token", "access token")


@pytest.fixture
def world() -> World:
    world = World()
    world.whatsapp_secrets = SECRETS
    return world


def meta(world: World) -> TestClient:
    return TestClient(create_whatsapp_app(world))


def post(world: World, body: Any, secret: str = "app secret") -> httpx.Response:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = "sha256=" + hmac.new(secret.encode(), sent, hashlib.sha256).hexdigest()
    return meta(world).post(PATH, content=sent, headers={"X-Hub-Signature-256": signature})


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_the_handshake_gives_the_challenge_back(world: World) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "verify token", "hub.challenge": "1158201444"}
    answer = meta(world).get(PATH, params=asked)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "wrong",
    [{"hub.verify_token": "guess"}, {"hub.verify_token": ""}, {"hub.mode": "unsubscribe"}, {"hub.verify_token": "é"}],
)
def test_who_does_not_know_the_token_gets_no_challenge(world: World, wrong: dict[str, str]) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "verify token", "hub.challenge": "1"} | wrong
    assert problem(meta(world).get(PATH, params=asked)) == (403, "wrong-verify-token")
    assert problem(meta(world).get(PATH)) == (403, "wrong-verify-token")


def test_messages_are_queued_under_ids_that_follow_from_theirs(world: World) -> None:
    body = payload(text(), photo(id="wamid.2"))
    answers = [post(world, body) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"queued": 2, "skipped": 0})] * 2
    first, second = world.publisher.sent[:2], world.publisher.sent[2:]
    assert [message.event_id for message in first] == [message.event_id for message in second]
    assert len({message.event_id for message in first}) == 2
    assert [message.event.key for message in first] == ["491511234567@s.whatsapp.net"] * 2


def test_a_body_that_meta_did_not_sign_is_refused(world: World) -> None:
    assert problem(post(world, payload(text()), "another secret")) == (401, "wrong-signature")
    assert problem(meta(world).post(PATH, json=payload(text()))) == (401, "wrong-signature")
    assert world.publisher.sent == []


def test_what_is_no_json_is_refused_and_what_is_not_understood_skipped(world: World) -> None:
    assert problem(post(world, b"not json")) == (400, "malformed-request")
    assert problem(post(world, b"[" * 100_000)) == (400, "malformed-request")
    for other in ([], {"object": "page"}, payload(), payload(field="statuses")):
        assert post(world, other).json() == {"queued": 0, "skipped": 0}
    assert post(world, payload(None, text())).json() == {"queued": 1, "skipped": 1}


def test_messages_that_were_not_queued_are_posted_again(world: World) -> None:
    world.publisher.away = 1
    answer = post(world, payload(text()))
    assert problem(answer) == (503, "temporarily-unavailable")
    assert "Retry-After" in answer.headers
    assert post(world, payload(text())).status_code == 200


def test_without_secrets_nothing_is_taken(world: World) -> None:
    world.whatsapp_secrets = WhatsAppSecrets()
    assert problem(post(world, payload(text()), "")) == (503, "whatsapp-not-set-up")
    assert problem(meta(world).get(PATH)) == (503, "whatsapp-not-set-up")


def test_a_body_beyond_the_limit_is_not_read(world: World) -> None:
    assert problem(post(world, b" " * (world.settings.max_upload_bytes + 1_000_000))) == (413, "file-too-large")
