"""Every route of every OpenAPI document refuses every kind of wrong caller; new routes are included by themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from deeplens.access.api_keys import digest, new_key
from deeplens.access.scopes import ADMIN, READ, WRITE
from deeplens.bootstrap.container import Container
from deeplens.identity.development import CLIENT

from local.stack.stack import Stack
from tests.e2e.conftest import eventually, new_client, picture
from tests.harness.films import film

DOCUMENTS = ("/v1/openapi.json", "/v1/admin/openapi.json", "/connect/openapi.json")
MARK = "sunflower7731"
"""Stands in everything that the victim has."""
VICTIM, THIEF, ASLEEP = "tenant_victim", "tenant_thief", "tenant_asleep"
ABSENT = {"/problems/operators-only"} | {
    f"/problems/{kind}-not-found"
    for kind in (
        *("tenant", "image", "video", "user", "client", "key", "rollout", "duplicate", "merge"),
        *("maintenance", "webhook", "delivery", "upload", "chat", "rule", "store", "identity-provider", "domain"),
        *("session", "application"),
    )
}
OWN_LIST = "/v1/admin/maintenance"
"""Answers everybody, with what is theirs."""
OWN_USAGE = ("/v1/admin/usage", "/v1/admin/usage/export")
"""The same."""
PUBLIC_METHODS = {"get", "post", "put", "patch", "delete"}


@dataclass(frozen=True, slots=True)
class Route:
    """An operation that wants credentials, with a good request for it."""

    method: str
    path: str
    operation: dict[str, Any]
    schemas: dict[str, Any]

    @property
    def admin(self) -> bool:
        return self.path.startswith("/v1/admin")

    def body(self) -> dict[str, Any]:
        content = self.operation.get("requestBody", {}).get("content", {})
        if "multipart/form-data" in content:
            return {"files": {"file": ("a.jpg", picture(1), "image/jpeg")}}
        if "application/json" in content:
            return {"json": self._example(content["application/json"]["schema"])}
        return {}

    def _example(self, schema: dict[str, Any]) -> Any:
        found = schema.get("$ref") or next(
            (option["$ref"] for option in schema.get("anyOf", []) if "$ref" in option), ""
        )
        return (self.schemas[found.rpartition("/")[2]].get("examples") or [{}])[0]


@dataclass(frozen=True, slots=True)
class Victim:
    """What the victim has, by the name of the path parameter that leads to it."""

    ids: dict[str, str]

    def path(self, route: Route) -> str:
        return route.path.format(**self.ids)


@pytest.fixture(scope="module")
def victim(stack: Stack, parts: Container) -> Victim:
    new_client(stack, parts, THIEF, "nfs")
    client = new_client(stack, parts, VICTIM, "nfs")
    image_id, other_id = (client.completed(picture(7731), name=f"{MARK}.jpg", tags=MARK) for _ in range(2))
    upload = client.http.post("/uploads", json={"fileName": f"{MARK}.jpg", "sizeBytes": 20 << 20}).json()
    groups = eventually(lambda: client.http.get("/duplicates").json()["groups"])
    film_id = client.http.post("/videos", files={"file": (f"{MARK}.mp4", film())}).json()["videoId"]
    shown = eventually(
        lambda: client.http.get(f"/videos/{film_id}").json(), lambda image: image["completedAt"] is not None
    )
    assert shown["status"] == "completed"
    with operator(stack, parts) as http:
        base = f"/v1/admin/tenants/{VICTIM}"
        person = {"email": f"{MARK}@example.com", "name": MARK, "roles": ["editor"], "password": f"{MARK} password"}
        user = http.post(f"{base}/users", json=person).json()
        key = http.post(f"{base}/keys", json={"name": MARK}).json()
        machine = {"name": MARK, "grants": ["client_credentials"], "scopes": [READ]}
        app = http.post(f"{base}/clients", json=machine).json()
        endpoint = {"url": f"https://93.184.215.14/{MARK}", "events": ["duplicates.found"]}
        hook = http.post(f"{base}/webhooks", json=endpoint).json()
        chat = http.post(f"{base}/whatsapp/chats", json={"chatJid": f"{MARK}@g.us", "name": MARK}).json()
        rule = http.post(f"{base}/whatsapp/rules", json={"text": MARK, "actions": ["ignore"]}).json()
        share = {"kind": "nfs", "container": MARK}
        store = http.post(f"{base}/stores", json=share).json()
        run = http.post(OWN_LIST, json={"tenantId": VICTIM, "type": "sweep", "dryRun": True}).json()
        http.patch(base, json={"settings": {"secret plan": MARK}})
        client.upload(picture(7732)[:-400], name=f"{MARK}.jpg")
        given_up = {"tenant_id": VICTIM}
        letters = eventually(lambda: http.get("/v1/admin/dead-letters", params=given_up).json()["deadLetters"])
    ids = {
        "tenant_id": VICTIM,
        "image_id": image_id,
        "upload_id": upload["uploadId"],
        "other_id": other_id,
        "duplicate_id": groups[0]["duplicateId"],
        "merge_id": "mrg_none",
        "video_id": film_id,
        "size": "small",
        "rollout_id": "rol_none",
        "run_id": run["runId"],
        "webhook_id": hook["webhookId"],
        "delivery_id": "whd_none",
        "dead_letter_id": letters[0]["deadLetterId"],
        "chat_id": chat["chatId"],
        "rule_id": rule["ruleId"],
        "session_id": "ses_none",
        "store_id": store["storeId"],
        "kid": "none",
        "domain": "victim.example.com",
    }
    return Victim({**ids, "user_id": user["userId"], "prefix": key["prefix"], "client_id": app["clientId"]})


@pytest.fixture(scope="module")
def routes(stack: Stack) -> list[Route]:
    found = [route for address in DOCUMENTS for route in routes_of(httpx.get(f"{stack.api_url}{address}").json())]
    assert {document for document in DOCUMENTS if any(route.path.startswith(document[:4]) for route in found)}
    return found


def routes_of(document: dict[str, Any]) -> Iterator[Route]:
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in PUBLIC_METHODS and operation.get("security"):
                yield Route(method.upper(), path, operation, schemas)


def operator(stack: Stack, parts: Container) -> httpx.Client:
    return with_key(stack, parts.api_keys.create(None, "operator", (ADMIN,)))


def with_key(stack: Stack, key: str) -> httpx.Client:
    return httpx.Client(base_url=stack.api_url, headers={"X-API-Key": key}, timeout=60, trust_env=False)


def with_token(stack: Stack, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=stack.api_url, headers=headers, timeout=60, trust_env=False)


def token(stack: Stack, parts: Container, tenant_id: str | None, *scopes: str, **claims: Any) -> str:
    """A token that the stack's own key has signed."""
    now = datetime.now(UTC)
    kid, private = parts.signing_keys.signer()
    given = {"iss": stack.identity_url, "aud": "deeplens.api", "sub": "usr_test", "client_id": CLIENT, "jti": "1"}
    times = {"iat": now, "nbf": now, "exp": now + timedelta(minutes=5)}
    owner = {"tenant_id": tenant_id} if tenant_id else {}
    body = given | times | owner | {"scope": " ".join(scopes)} | claims
    return jwt.encode(body, private, "RS256", {"kid": kid, "typ": "at+jwt"})


def expired_key(parts: Container, tenant_id: str) -> str:
    key = new_key()
    with parts.connections.platform() as connection:
        connection.execute(
            "INSERT INTO tenant_api_keys (prefix, tenant_id, name, secret_sha256, scopes, expires_at) "
            "VALUES (%s, %s, 'old', %s, %s, now() - interval '1 second')",
            [key.prefix, tenant_id, digest(key.presented.rpartition("_")[2]), [READ, WRITE, ADMIN]],
        )
    return key.presented


def ask(client: httpx.Client, route: Route, victim: Victim) -> httpx.Response:
    return client.request(route.method, victim.path(route), **route.body())


def assert_refused(answer: httpx.Response, route: Route, statuses: set[int]) -> None:
    place = f"{route.method} {route.path}: {answer.status_code} {answer.text[:300]}"
    assert answer.status_code in statuses, place
    assert MARK not in answer.text, place
    kind = answer.headers["content-type"]
    assert kind == ("application/json" if route.path.startswith("/connect") else "application/problem+json"), place


def test_every_document_is_covered(routes: list[Route]) -> None:
    assert {route.path.split("/")[1] for route in routes} == {"v1", "connect"}
    assert len(routes) >= 40


def test_without_good_credentials_nothing_is_answered(
    stack: Stack, parts: Container, routes: list[Route], victim: Victim
) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    every = (READ, WRITE, ADMIN, "openid")
    old = token(stack, parts, VICTIM, *every, exp=past, nbf=past - timedelta(hours=1), iat=past - timedelta(hours=1))
    elsewhere = token(stack, parts, VICTIM, *every, aud="someone.else")
    unsigned = jwt.encode({"sub": "usr_test", "tenant_id": VICTIM}, "", "none", {"typ": "at+jwt"})
    callers = [
        httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False),
        with_key(stack, "dl_000000000000_" + 48 * "0"),
        with_key(stack, expired_key(parts, VICTIM)),
        *(with_token(stack, one) for one in (old, elsewhere, unsigned, "garbage")),
    ]
    for client in callers:
        with client:
            for route in routes:
                answer = ask(client, route, victim)
                assert_refused(answer, route, {401})
                assert "www-authenticate" in answer.headers


def test_a_scope_too_little_is_refused(stack: Stack, parts: Container, routes: list[Route], victim: Victim) -> None:
    reader = with_token(stack, token(stack, parts, VICTIM, READ))
    searcher = with_key(stack, parts.api_keys.create(VICTIM, "admin only", (ADMIN,)))
    editor = with_key(stack, parts.api_keys.create(VICTIM, "editor", (READ, WRITE)))
    with reader, searcher, editor:
        for route in routes:
            if route.path.startswith("/connect"):
                continue
            assert_refused(ask(editor if route.admin else searcher, route, victim), route, {403})
        changes = [route for route in routes if not route.admin and route.method in ("PATCH", "DELETE")]
        uploads = [route for route in routes if (route.method, route.path) == ("POST", "/v1/images")]
        for route in [*changes, *uploads]:
            assert_refused(ask(reader, route, victim), route, {403})
        assert len(changes) >= 2
        assert len(uploads) == 1


def test_another_tenants_everything_does_not_exist(
    stack: Stack, parts: Container, routes: list[Route], victim: Victim
) -> None:
    before = parts.stores.for_tenant(parts.tenants.get(VICTIM, fresh=True))
    stored = [entry.key for entry in before.list()]
    every = (READ, WRITE, ADMIN)
    thieves = [
        with_key(stack, parts.api_keys.create(THIEF, "thief", every)),
        with_token(stack, token(stack, parts, THIEF, *every)),
    ]
    for client in thieves:
        with client:
            for route in routes:
                if route.path.startswith("/connect"):
                    continue
                answer = ask(client, route, victim)
                if (route.method, route.path) == ("GET", OWN_LIST):
                    assert answer.json() == {"runs": []}
                elif route.path in OWN_USAGE:
                    assert VICTIM not in answer.text
                    assert client.get(route.path, params={"tenant_id": VICTIM}).status_code == 404
                elif "{" in route.path or route.admin:
                    assert_refused(answer, route, {403, 404})
                    assert answer.json()["type"] in ABSENT, route
                assert answer.status_code < 500
                assert MARK not in answer.text, route.path
    with operator(stack, parts) as http:
        assert http.get(f"/v1/admin/tenants/{VICTIM}").json()["status"] == "active"
        assert [user["name"] for user in http.get(f"/v1/admin/tenants/{VICTIM}/users").json()["users"]] == [MARK]
    assert [entry.key for entry in before.list()] == stored


def test_own_id_of_another_owner_leads_nowhere(
    stack: Stack, parts: Container, routes: list[Route], victim: Victim
) -> None:
    """The thief's own tenant in the path, the victim's user, key or client behind it."""
    mixed = Victim({**victim.ids, "tenant_id": THIEF})
    with with_key(stack, parts.api_keys.create(THIEF, "thief", (READ, WRITE, ADMIN))) as client:
        tried = [route for route in routes if re.search(r"tenant_id}/.*{", route.path)]
        for route in tried:
            assert_refused(ask(client, route, mixed), route, {404})
        assert len(tried) >= 8


def test_a_suspended_tenant_gets_nothing(stack: Stack, parts: Container, routes: list[Route], victim: Victim) -> None:
    new_client(stack, parts, ASLEEP, "nfs")
    with operator(stack, parts) as http:
        assert http.post(f"/v1/admin/tenants/{ASLEEP}/suspend").json()["status"] == "suspended"
    asleep = Victim({**victim.ids, "tenant_id": ASLEEP})
    every = (READ, WRITE, ADMIN)
    callers = [
        with_key(stack, parts.api_keys.create(ASLEEP, "asleep", every)),
        with_token(stack, token(stack, parts, ASLEEP, *every)),
    ]
    for client in callers:
        with client:
            for route in routes:
                if not route.path.startswith("/connect"):
                    assert_refused(ask(client, route, asleep), route, {403})


def test_both_kinds_of_credentials_at_once_are_ambiguous(stack: Stack, parts: Container, victim: Victim) -> None:
    headers = {"Authorization": f"Bearer {token(stack, parts, victim.ids['tenant_id'], READ)}"}
    with with_key(stack, parts.api_keys.create(THIEF, "thief", (READ,))) as client:
        answer = client.get("/v1/images", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/ambiguous-credentials")
