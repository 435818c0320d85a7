"""Chats work on the running stack, with Meta's webhook and a fake Graph API."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.fakes.graph import VERIFY_TOKEN, GraphDouble, signed
from tests.harness.films import film

TENANT, NEIGHBOUR = "tenant_chatting", "tenant_chatting_too"
WEBHOOK = "/v1/whatsapp/webhook"
PERSON, OTHER, STRANGER = "491511000001", "491511000002", "491511000003"


def jid(person: str) -> str:
    return f"{person}@s.whatsapp.net"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def chatting(stack: Stack, parts: Container, admin: httpx.Client) -> TenantClient:
    """Create two tenants, each with a person who writes to it."""
    made = [new_client(stack, parts, tenant_id, "nfs") for tenant_id in (TENANT, NEIGHBOUR)]
    for tenant_id, person in ((TENANT, PERSON), (NEIGHBOUR, OTHER)):
        answer = admin.post(f"/tenants/{tenant_id}/whatsapp/chats", json={"chatJid": jid(person)})
        assert answer.status_code == 201, answer.text
    return made[0]


class Meta:
    """Send messages to the webhook, any number of times, as Meta does."""

    def __init__(self, stack: Stack) -> None:
        self._http = httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False)
        self._number = 0

    def post(self, *messages: dict[str, Any], times: int = 1, headers: dict[str, str] | None = None) -> httpx.Response:
        value = {"metadata": {"phone_number_id": "106540352242922"}, "messages": messages}
        change = {"field": "messages", "value": value}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [{"changes": [change]}]}).encode()
        answers = [
            self._http.post(WEBHOOK, content=body, headers=signed(body) if headers is None else headers)
            for _ in range(times)
        ]
        return answers[-1]

    def message(self, person: str, kind: str, **part: Any) -> dict[str, Any]:
        self._number += 1
        name = f"wamid.{person}{self._number}"
        return {"from": person, "id": name, "timestamp": "1795170600", "type": kind, kind: part}

    def text(self, person: str, body: str, **post: Any) -> str:
        return self._sent(self.message(person, "text", body=body), **post)

    def photo(self, person: str, media_id: str, caption: str | None = None, **post: Any) -> str:
        about = {"id": media_id, "mime_type": "image/jpeg"} | ({"caption": caption} if caption else {})
        return self._sent(self.message(person, "image", **about), **post)

    def video(self, person: str, media_id: str, caption: str, **post: Any) -> str:
        return self._sent(self.message(person, "video", id=media_id, mime_type="video/mp4", caption=caption), **post)

    def _sent(self, message: dict[str, Any], **post: Any) -> str:
        answer = self.post(message, **post)
        assert answer.status_code == 200, answer.text
        return str(message["id"])


@pytest.fixture(scope="module")
def meta(stack: Stack, chatting: TenantClient) -> Meta:
    assert chatting.tenant.id == TENANT
    return Meta(stack)


def entry(admin: httpx.Client, message_id: str, tenant_id: str = TENANT) -> dict[str, Any]:
    """Wait for the outcome of a message and return it."""

    def look() -> list[dict[str, Any]]:
        answer = admin.get(f"/tenants/{tenant_id}/whatsapp/messages", params={"limit": 200})
        return [message for message in answer.json()["messages"] if message["messageId"] == message_id]

    (found,) = eventually(look)
    return dict(found)


def replied(graph: GraphDouble, message_id: str) -> str:
    """The answer that quotes a message; a second one fails the test."""

    def look() -> list[str]:
        return [message["text"]["body"] for message in graph.sent if message["context"]["message_id"] == message_id]

    (text,) = eventually(look, seconds=150)
    return str(text)


def test_meta_shakes_hands(stack: Stack, meta: Meta) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}
    url = f"{stack.api_url}{WEBHOOK}"
    assert httpx.get(url, params=asked).text == "1158201444"
    assert httpx.get(url, params=asked | {"hub.verify_token": "guess"}).status_code == 403


def test_a_body_that_meta_did_not_sign_has_no_effect(meta: Meta, graph: GraphDouble, admin: httpx.Client) -> None:
    forged = meta.message(PERSON, "text", body="help")
    for headers in ({}, {"X-Hub-Signature-256": "sha256=" + 64 * "0"}, signed(b"another body")):
        assert meta.post(forged, headers=headers).status_code == 401
    after = meta.text(PERSON, "help")
    assert "photo" in replied(graph, after)
    messages = admin.get(f"/tenants/{TENANT}/whatsapp/messages").json()["messages"]
    assert forged["id"] not in {message["messageId"] for message in messages}


def test_a_photo_posted_three_times_is_one_image_and_one_answer(
    meta: Meta, graph: GraphDouble, admin: httpx.Client, chatting: TenantClient
) -> None:
    graph.files["media-harbour"] = picture(9100)
    message_id = meta.photo(PERSON, "media-harbour", "At the harbour", times=3)
    assert replied(graph, message_id) == "whatsapp-20261120-103000.jpg is searchable now."
    known = entry(admin, message_id)
    assert (known["outcome"], known["type"]) == ("ingested", "image")
    image = chatting.image(known["imageId"])
    assert (image["status"], image["metadata"]["caption"]) == ("completed", "At the harbour")
    assert chatting.search(picture(9100))[0]["imageId"] == known["imageId"]
    meta.post(*[meta.message(PERSON, "text", body="help")], times=2)
    # What came again was handled before the messages behind it.
    assert "searchable" in replied(graph, meta.text(PERSON, "status"))
    assert len([message for message in graph.sent if message["context"]["message_id"] == message_id]) == 1
    assert graph.looked_up.count("media-harbour") == 1
    assert chatting.http.get("/images").json()["images"][0]["imageId"] == known["imageId"]


def test_a_video_becomes_searchable_and_its_sender_is_told(
    meta: Meta, graph: GraphDouble, admin: httpx.Client, chatting: TenantClient
) -> None:
    graph.files["media-party"] = film()
    message_id = meta.video(PERSON, "media-party", "The party", times=2)
    assert replied(graph, message_id) == "whatsapp-20261120-103000.mp4 is searchable now."
    known = entry(admin, message_id)
    assert (known["outcome"], known["imageId"]) == ("ingested", None)
    video = chatting.http.get(f"/videos/{known['videoId']}").json()
    assert (video["status"], video["metadata"]["caption"]) == ("completed", "The party")


def test_find_answers_with_the_sender_tenants_own_images_only(
    meta: Meta, graph: GraphDouble, admin: httpx.Client
) -> None:
    graph.files["media-bridge"] = picture(9200)
    mine = meta.photo(PERSON, "media-bridge")
    replied(graph, mine)
    image_id = entry(admin, mine)["imageId"]
    found = replied(graph, meta.photo(PERSON, "media-bridge", "Find"))
    assert found.splitlines()[1].startswith("1. whatsapp-20261120-103000.jpg, exact, 1.00")
    assert image_id in found.splitlines()[1]
    theirs = replied(graph, meta.photo(OTHER, "media-bridge", "find"))
    assert image_id not in theirs


@pytest.mark.parametrize(("media_id", "status"), [("gone", None), ("unknown", None), ("late", 401), ("late", 404)])
def test_expired_media_give_a_clear_reason(
    meta: Meta, graph: GraphDouble, admin: httpx.Client, media_id: str, status: int | None
) -> None:
    if status:
        graph.files[media_id], graph.expired[media_id] = b"x", status
    message_id = meta.photo(PERSON, media_id)
    assert replied(graph, message_id) == (
        "WhatsApp no longer has this file, so it could not be added. Please send it again."
    )
    known = entry(admin, message_id)
    assert (known["outcome"], known["code"]) == ("refused", "MEDIA_EXPIRED")
    assert str(status or "HTTP 40") in known["reason"]


def test_messages_of_strangers_leave_no_trace(
    meta: Meta, graph: GraphDouble, admin: httpx.Client, chatting: TenantClient
) -> None:
    graph.files["media-stranger"] = picture(9300)
    meta.photo(STRANGER, "media-stranger")
    meta.text(STRANGER, "help")
    replied(graph, meta.text(PERSON, "help"))
    kept = "SELECT * FROM whatsapp_messages WHERE chat_jid = %s"
    assert chatting.rows(kept, [jid(STRANGER)]) == 0
    assert "media-stranger" not in graph.looked_up
    assert graph.told(STRANGER) == []


def test_rules_tag_and_ignore(meta: Meta, graph: GraphDouble, admin: httpx.Client, chatting: TenantClient) -> None:
    rules = f"/tenants/{TENANT}/whatsapp/rules"
    tag = {"types": ["image"], "text": "invoice", "actions": ["ingest"], "tags": ["bills"]}
    made = [admin.post(rules, json=one).json() for one in (tag, {"types": ["image"], "actions": ["ignore"]})]
    graph.files["media-bill"] = picture(9400)
    tagged, ignored = meta.photo(PERSON, "media-bill", "Invoice 7"), meta.photo(PERSON, "media-bill", "lunch")
    assert "searchable" in replied(graph, tagged)
    assert chatting.image(entry(admin, tagged)["imageId"])["tags"] == ["bills"]
    known = entry(admin, ignored)
    assert (known["outcome"], known["ruleId"]) == ("ignored", made[1]["ruleId"])
    for rule in made:
        assert admin.delete(f"{rules}/{rule['ruleId']}").status_code == 204


def test_a_burst_is_answered_once_each_although_whatsapp_is_busy(
    meta: Meta, graph: GraphDouble, admin: httpx.Client
) -> None:
    busy = {"error": {"message": "(#131056) pair rate limit", "code": 131056}}
    graph.refusals[OTHER] = [(400, busy), (500, {})]
    names = []
    for number in range(20):
        graph.files[f"burst-{number}"] = picture(9500 + number)
        names.append(meta.photo(OTHER, f"burst-{number}", times=1 + number % 2))
    known = [entry(admin, name, NEIGHBOUR) for name in names]
    assert len({message["imageId"] for message in known}) == 20

    def answered() -> int:
        return len({message["context"]["message_id"] for message in graph.sent} & set(names))

    # The first refusals put replies off for minutes; those of images that ended later are sent meanwhile.
    eventually(lambda: answered() >= 10, seconds=150)
    quoted = [message["context"]["message_id"] for message in graph.sent]
    assert max(quoted.count(name) for name in names) == 1
