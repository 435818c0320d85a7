"""Chats and rules over the Admin API: linked by operators, and nobody else's."""

from typing import Any

import httpx
import pytest
from deeplens.whatsapp.chats import Handled, Reply, Rule

from tests.harness.api import START, World

ENDS = {"image.completed", "image.failed", "video.completed", "video.failed"}
PATH = "/v1/admin/tenants/tenant_acme/whatsapp"
JID = "491511234567@s.whatsapp.net"
WANTED = {"types": ["image"], "inGroup": True, "text": "invoice", "actions": ["ingest", "webhook"], "tags": ["bills"]}


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def linked(world: World, jid: str = JID) -> dict[str, Any]:
    answer = world.operator().post(f"{PATH}/chats", json={"chatJid": jid, "name": "Desk"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def added(world: World, **changes: Any) -> dict[str, Any]:
    answer = world.operator().post(f"{PATH}/rules", json=WANTED | changes)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_chat_is_linked_listed_and_unlinked(world: World) -> None:
    made = linked(world)
    assert linked(world) == made
    own = world.administrator("tenant_acme")
    assert own.get(f"{PATH}/chats").json() == {"chats": [made]}
    assert world.tenants.get("tenant_acme").notified == ENDS
    assert own.delete(f"{PATH}/chats/{made['chatId']}").status_code == 204
    assert problem(own.delete(f"{PATH}/chats/{made['chatId']}")) == (404, "chat-not-found")


def test_a_chat_belongs_to_one_tenant(world: World) -> None:
    linked(world)
    again = world.operator().post(PATH.replace("acme", "other") + "/chats", json={"chatJid": JID})
    assert problem(again) == (409, "chat-linked")
    assert world.chats.known[JID].tenant_id == "tenant_acme"


def test_only_operators_link_as_nobody_can_show_whose_a_number_is(world: World) -> None:
    refused = world.administrator("tenant_acme").post(f"{PATH}/chats", json={"chatJid": JID})
    assert problem(refused) == (403, "operators-only")
    assert world.chats.known == {}


@pytest.mark.parametrize("jid", ["", "someone", "49151@c.us", "4915112 34@s.whatsapp.net", "../x@s.whatsapp.net", 7])
def test_what_is_no_chat_is_not_linked(world: World, jid: Any) -> None:
    assert world.operator().post(f"{PATH}/chats", json={"chatJid": jid}).status_code == 422


def test_rules_are_kept_in_their_order(world: World) -> None:
    first, second = added(world), added(world, actions=["ignore"], tags=[])
    urgent = added(world, position=0)
    operator = world.operator()

    def order() -> list[str]:
        return [rule["ruleId"] for rule in operator.get(f"{PATH}/rules").json()["rules"]]

    assert order() == [urgent["ruleId"], first["ruleId"], second["ruleId"]]
    path = f"{PATH}/rules/{first['ruleId']}"
    changed = operator.put(path, json={"actions": ["ignore"], "position": 9}).json()
    assert (changed["position"], changed["actions"], changed["types"], changed["tags"]) == (9, ["ignore"], None, [])
    assert operator.get(path).json() == changed
    assert order()[-1] == first["ruleId"]
    assert operator.put(path, json={"actions": ["webhook"]}).json()["position"] == 9
    assert operator.delete(path).status_code == 204
    for method in ("GET", "DELETE"):
        assert problem(operator.request(method, path)) == (404, "rule-not-found")
    assert problem(operator.put(path, json=WANTED)) == (404, "rule-not-found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"actions": []},
        {"actions": ["delete"]},
        {"actions": ["ignore", "ingest"]},
        {"actions": ["webhook"]},
        {"senders": ["+49 151"]},
        {"groups": [JID]},
        {"types": []},
        {"text": ""},
        {"position": -1},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_rule_that_nobody_can_mean_is_refused(world: World, wrong: dict[str, Any]) -> None:
    assert world.operator().post(f"{PATH}/rules", json=WANTED | wrong).status_code == 422
    assert world.chats.kept_rules == {}


def test_a_tenant_has_a_hundred_rules_at_most(world: World) -> None:
    for number in range(100):
        world.chats.save_rule(Rule(f"rul_{number}", "tenant_acme", number, ("ignore",)))
    assert problem(world.operator().post(f"{PATH}/rules", json=WANTED)) == (409, "too-many-rules")


def test_messages_say_what_became_of_them(world: World) -> None:
    handled = Handled("wamid.1", "tenant_acme", JID, "image", "refused", START, "HTTP 404", "MEDIA_EXPIRED")
    reply = Reply("war_1", "tenant_acme", JID, "wamid.1", "1", START, START, text="Gone.")
    assert world.chats.record(handled, reply)
    assert not world.chats.record(handled, None)
    (shown,) = world.operator().get(f"{PATH}/messages").json()["messages"]
    assert (shown["outcome"], shown["code"], shown["reason"]) == ("refused", "MEDIA_EXPIRED", "HTTP 404")
    assert (shown["reply"]["state"], shown["reply"]["text"]) == ("waiting", "Gone.")
    assert world.administrator("tenant_other").get(f"{PATH}/messages").status_code == 404


def test_another_tenants_chats_and_rules_do_not_exist(world: World) -> None:
    chat, rule = linked(world), added(world)
    thief, own = world.administrator("tenant_other"), PATH.replace("acme", "other")
    tails = [
        ("DELETE", f"/chats/{chat['chatId']}", "chat-not-found", None),
        ("GET", f"/rules/{rule['ruleId']}", "rule-not-found", None),
        ("PUT", f"/rules/{rule['ruleId']}", "rule-not-found", WANTED),
        ("DELETE", f"/rules/{rule['ruleId']}", "rule-not-found", None),
    ]
    for method, tail, code, body in tails:
        assert problem(thief.request(method, PATH + tail, json=body)) == (404, "tenant-not-found")
        assert problem(thief.request(method, own + tail, json=body)) == (404, code)
    for path in (f"{PATH}/chats", f"{PATH}/rules"):
        assert thief.get(path).status_code == 404
    assert thief.get(f"{own}/chats").json() == {"chats": []}
    assert world.chats.known[JID].tenant_id == "tenant_acme"
    assert rule["ruleId"] in world.chats.kept_rules
