"""A token gives access to its scopes, and to nothing else."""

import time

import jwt
import pytest
from deeplens.access.scopes import ADMIN, READ, WRITE

from tests.e2e.conftest import eventually
from tests.e2e.identity.conftest import PASSWORD, World
from tests.harness.browser import query_of
from tests.harness.refusals import forged, refused


def test_only_an_access_token_opens_the_api(world: World) -> None:
    app = world.app()
    tokens = world.tokens(app, world.user(), scope=f"openid offline_access {READ}")
    assert world.search(tokens["access_token"]).status_code == 200
    for wrong in (tokens["id_token"], tokens["refresh_token"]):
        assert world.search(wrong).status_code == 401
        assert app.userinfo(wrong).status_code == 401


def test_a_token_for_signing_in_only_does_not_open_the_api_nor_the_reverse(world: World) -> None:
    app, email = world.app(), world.user()
    for_userinfo = world.tokens(app, email, scope="openid")["access_token"]
    for_api = world.tokens(app, email, scope=READ)["access_token"]
    assert world.search(for_userinfo).status_code == 401
    assert app.userinfo(for_userinfo).status_code == 200
    assert app.userinfo(for_api).status_code == 403


def test_a_scope_opens_what_it_names(world: World) -> None:
    token = world.tokens(world.app(), world.user("viewer"))["access_token"]
    picture = {"file": ("a.jpg", b"a picture")}
    upload = world.http.post(f"{world.api_url}/v1/images", files=picture, headers={"Authorization": f"Bearer {token}"})
    assert upload.status_code == 403


def test_forged_tokens_are_worth_nothing_anywhere(world: World) -> None:
    app = world.app()
    token = world.tokens(app, world.user())["access_token"]
    for wrong in [*forged(token), *forged(token, exp=int(time.time()) + 10**6), token[:-4], f"{token}A"]:
        assert world.search(wrong).status_code == 401
        assert app.userinfo(wrong).status_code == 401
        assert app.post("introspect", token=wrong).json() == {"active": False}


def test_a_client_learns_nothing_of_other_tenants_tokens(world: World) -> None:
    token = world.tokens(world.app(), world.user())
    stranger = world.app(tenant_id=None, scopes=(READ,))
    for value in (token["access_token"], token["refresh_token"]):
        assert stranger.post("introspect", token=value).json() == {"active": False}
        assert refused(stranger.post("revocation", token=value), "invalid_grant")
    assert refused(world.app(None).post("introspect", token=token["access_token"]), "invalid_client")


def test_a_clients_tokens_end_with_the_client(world: World) -> None:
    app = world.app()
    own = app.token("client_credentials", scope=READ).json()["access_token"]
    users = world.tokens(app, world.user())["access_token"]
    assert (world.search(own).status_code, world.search(users).status_code) == (200, 200)
    assert world.parts.clients.delete(world.tenant_id, app.client.id)
    for token in (own, users):
        eventually(lambda token=token: world.search(token).status_code, lambda status: status == 401, seconds=30)


# Scopes.


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_a_user_cannot_grant_what_the_roles_do_not_give(world: World, role: str) -> None:
    requested_scopes = f"openid {READ} {WRITE} {ADMIN}"
    tokens = world.tokens(world.app(), world.user(role), scope=requested_scopes)
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert ADMIN not in tokens["scope"].split()
    assert ADMIN not in claims["scope"].split()
    assert (WRITE in tokens["scope"].split()) == (role == "editor")


def test_a_viewer_who_is_asked_for_admin_alone_grants_nothing(world: World) -> None:
    browser = world.browser()
    page = browser.sign_in(browser.open(world.app().request(scope=ADMIN)), world.user("viewer"), PASSWORD)
    assert query_of(page.headers["location"])["error"] == "invalid_scope"


@pytest.mark.parametrize("scope", [ADMIN, f"{READ} {ADMIN}", "openid", "offline_access", "everything"])
def test_a_machine_gets_the_scopes_of_its_client_only(world: World, scope: str) -> None:
    app = world.app(scopes=("openid", "offline_access", READ))
    assert refused(app.token("client_credentials", scope=scope), "invalid_scope")
    assert app.token("client_credentials").json()["scope"] == READ


def test_a_grant_that_is_not_the_clients_is_refused(world: World) -> None:
    app = world.app(grants=("authorization_code",))
    assert refused(app.token("client_credentials"), "unauthorized_client")
    assert refused(app.token("password", username="a", password="b"), "unsupported_grant_type")
    assert refused(app.token(""), "unsupported_grant_type")
    assert "refresh_token" not in world.tokens(app, world.user())
    assert refused(world.app(None).token("client_credentials"), "invalid_client")
