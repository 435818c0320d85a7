"""Nobody handles a credential that is stronger than their own: each route that changes one, per caller."""

import itertools
from collections.abc import Callable, Iterator

import httpx
import pytest
from deeplens.access.scopes import ADMIN, API_SCOPES, READ, WRITE

from tests.e2e.identity.conftest import PASSWORD, World
from tests.harness.browser import query_of

NEW_PASSWORD = "violet lantern harbour"
_numbers = itertools.count(1)

type Route = Callable[[httpx.Client, httpx.Client, str], httpx.Response]


@pytest.fixture
def administrator(world: World) -> Iterator[Callable[..., httpx.Client]]:
    """Return a function that opens the Admin API with credentials of these scopes."""
    opened: list[httpx.Client] = []

    def new(kind: str, tenant_id: str | None, *scopes: str) -> httpx.Client:
        if kind == "key":
            headers = {"X-API-Key": world.parts.api_keys.create(tenant_id, "administrator", scopes)}
        else:
            role = "tenant_admin" if tenant_id else "platform_admin"
            app, email = world.app(tenant_id=tenant_id), world.user(role, tenant_id=tenant_id)
            token = world.tokens(app, email, scope=" ".join(scopes))["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
        base = f"{world.api_url}/v1/admin/tenants/{world.tenant_id}"
        opened.append(httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False))
        return opened[-1]

    yield new
    for client in opened:
        client.close()


def rotate_key(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    scopes = {"editor": [READ, WRITE], "viewer": [READ]}[role]
    key = root.post("/keys", json={"name": "importer", "scopes": scopes}).json()
    answer = caller.post(f"/keys/{key['prefix']}/rotate", json={"overlapHours": 0})
    if answer.status_code != 201:
        assert [live["expiresAt"] for live in root.get("/keys").json()["keys"] if live["prefix"] == key["prefix"]] == [
            None
        ]
    return answer


def rotate_client(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    scopes = {"editor": [READ, WRITE], "viewer": [READ]}[role]
    app = {"name": "importer", "grants": ["client_credentials"], "scopes": scopes}
    return caller.post(f"/clients/{root.post('/clients', json=app).json()['clientId']}/rotate")


def change_user(root: httpx.Client, caller: httpx.Client, role: str, **change: object) -> httpx.Response:
    email = f"stronger{next(_numbers)}@example.test"
    person = {"email": email, "name": "Ada", "roles": [role], "password": PASSWORD}
    return caller.patch(f"/users/{root.post('/users', json=person).json()['userId']}", json=change)


def reset_password(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    return change_user(root, caller, role, password=NEW_PASSWORD)


def rename(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    return change_user(root, caller, role, name="Mallory")


def enable(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    return change_user(root, caller, role, status="active")


def disable_and_reset(root: httpx.Client, caller: httpx.Client, role: str) -> httpx.Response:
    return change_user(root, caller, role, status="disabled", password=NEW_PASSWORD)


ROUTES: list[Route] = [rotate_key, rotate_client, reset_password, rename, enable, disable_and_reset]
CALLERS = [
    # (kind, of the platform, scopes) → which roles' credentials they may handle
    ("key", False, (ADMIN,), set[str]()),
    ("token", False, (ADMIN,), set[str]()),
    ("key", False, (READ, ADMIN), {"viewer"}),
    ("token", False, (READ, ADMIN), {"viewer"}),
    ("key", False, API_SCOPES, {"viewer", "editor"}),
    ("token", False, API_SCOPES, {"viewer", "editor"}),
    ("key", True, (ADMIN,), {"viewer", "editor"}),
    ("token", True, (ADMIN,), {"viewer", "editor"}),
]


@pytest.mark.parametrize(("kind", "platform", "scopes", "handled"), CALLERS)
def test_a_stronger_credential_is_not_handled_on_any_route(
    world: World,
    administrator: Callable[..., httpx.Client],
    kind: str,
    platform: bool,
    scopes: tuple[str, ...],
    handled: set[str],
) -> None:
    root = administrator("key", None, ADMIN)
    caller = administrator(kind, None if platform else world.tenant_id, *scopes)
    for route, role in itertools.product(ROUTES, ("viewer", "editor")):
        answer = route(root, caller, role)
        if role in handled:
            assert answer.is_success, (route, role, answer.text)
        else:
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/insufficient-scope"), (route, role)
            assert "which yours does not" in answer.json()["detail"]


def test_who_administers_only_gets_no_token_of_an_editor(
    world: World, administrator: Callable[..., httpx.Client]
) -> None:
    """The attack as it was: reset the editor's password, then sign in."""
    email, caller = world.user("editor"), administrator("key", world.tenant_id, ADMIN)
    user_id = next(user["userId"] for user in caller.get("/users").json()["users"] if user["email"] == email)
    caller.patch(f"/users/{user_id}", json={"password": NEW_PASSWORD})
    browser = world.browser()
    assert browser.sign_in(browser.open("/account/sign-in"), email, NEW_PASSWORD).status_code == 401
    assert "code" in query_of(world.browser().answer(world.app().request(), email, PASSWORD))


def test_access_may_be_taken_away_from_a_stronger_credential_and_not_given_again(
    world: World, administrator: Callable[..., httpx.Client]
) -> None:
    root, caller = administrator("key", None, ADMIN), administrator("key", world.tenant_id, ADMIN)
    key = root.post("/keys", json={"name": "leaked"}).json()
    assert caller.delete(f"/keys/{key['prefix']}").status_code == 204
    assert caller.post("/keys", json={"name": "leaked"}).status_code == 403
    person = {"email": "leaver@example.test", "name": "Leaver", "roles": ["editor"], "password": PASSWORD}
    user = root.post("/users", json=person).json()
    assert caller.patch(f"/users/{user['userId']}", json={"status": "disabled"}).status_code == 200
    assert caller.patch(f"/users/{user['userId']}", json={"status": "active"}).status_code == 403
    assert caller.delete(f"/users/{user['userId']}").status_code == 204
    assert caller.post("/users", json=person).status_code == 403
