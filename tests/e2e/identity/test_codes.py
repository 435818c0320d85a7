"""A code or refresh token is valid once, for its client, its verifier and its redirect address."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from deeplens.access.api_keys import digest
from deeplens.access.scopes import READ, WRITE
from deeplens.identity.model import REUSE_WINDOW

from tests.e2e.identity.conftest import CALLBACK, GOODBYE, SECRET, World
from tests.harness.browser import query_of
from tests.harness.refusals import refused


def test_a_code_is_good_once_and_its_second_use_ends_what_the_first_gave(world: World) -> None:
    app = world.app()
    code = world.code(app, world.user())
    tokens = app.redeem(code).json()
    assert refused(app.redeem(code), "invalid_grant")
    assert refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    assert app.userinfo(tokens["access_token"]).status_code == 401


def test_of_redemptions_at_the_same_time_one_wins_and_none_keeps_a_refresh_token(world: World) -> None:
    app = world.app()
    code = world.code(app, world.user())
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.redeem(code), range(6)))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(won) <= 1
    assert all(refused(answer, "invalid_grant") for answer in answers if answer.status_code != 200)
    assert not [one for one in won if app.refresh(one["refresh_token"]).status_code == 200]


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": "V" * 43},
        {"code_verifier": None},
        {"code_verifier": ""},
        {"code_verifier": "v" * 42},
        {"code_verifier": "v" * 129},
        {"redirect_uri": f"{CALLBACK}/"},
        {"redirect_uri": None},
        {"redirect_uri": GOODBYE},
        {"code": "another"},
        {"code": ""},
    ],
    ids=str,
)
def test_a_code_without_its_verifier_and_its_address_gives_nothing(
    world: World, reader: str, changed: dict[str, str]
) -> None:
    app = world.app(needs_consent=False)
    answer = app.redeem(world.code(app, reader), **changed)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_request")


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": None},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"code_challenge": "v" * 44},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain", "code_challenge": "v" * 43},
        {"code_challenge_method": "s256"},
        {"code_challenge": None, "code_challenge_method": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("secret", [SECRET, None], ids=["confidential", "public"])
def test_without_pkce_by_s256_no_sign_in_begins(world: World, secret: str | None, changed: dict[str, str]) -> None:
    answer = world.browser().open(world.app(secret).request(**changed))
    parameters = query_of(answer.headers["location"])
    assert (parameters["error"], parameters["state"], parameters["iss"]) == ("invalid_request", "a state", world.issuer)
    assert "code" not in parameters


def test_another_client_cannot_use_a_code_and_does_not_spoil_it(world: World) -> None:
    app, thief = world.app(), world.app("another secret")
    code = world.code(app, world.user())
    assert refused(thief.redeem(code), "invalid_grant")
    assert refused(app.redeem(code, client_id=thief.client.id), "invalid_client")
    assert refused(app.redeem(code, client_secret="wrong"), "invalid_client")
    assert refused(app.redeem(code, client_secret=None), "invalid_client")
    assert app.redeem(code).status_code == 200


# Refresh tokens.


def test_a_refresh_token_used_twice_ends_its_family(world: World) -> None:
    app = world.app()
    first = world.tokens(app, world.user())
    second = app.refresh(first["refresh_token"]).json()
    third = app.refresh(second["refresh_token"]).json()
    assert app.userinfo(third["access_token"]).status_code == 200
    assert refused(app.refresh(first["refresh_token"]), "invalid_grant")
    assert refused(app.refresh(third["refresh_token"]), "invalid_grant")
    assert app.userinfo(third["access_token"]).status_code == 401


def test_tabs_that_refresh_at_once_get_the_same_successor_and_stay_signed_in(world: World) -> None:
    app = world.app()
    token = world.tokens(app, world.user())["refresh_token"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.refresh(token), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    successors = {answer.json()["refresh_token"] for answer in answers}
    assert len(successors) == 1
    assert all(app.userinfo(answer.json()["access_token"]).status_code == 200 for answer in answers)
    assert app.refresh(successors.pop()).status_code == 200


def test_a_refresh_token_used_again_after_its_window_ends_its_family(world: World) -> None:
    app = world.app()
    first = world.tokens(app, world.user())
    second = app.refresh(first["refresh_token"]).json()
    statement = "UPDATE nextgen_identity.refresh_tokens SET spent_at = spent_at - %s WHERE token_sha256 = %s"
    with world.parts.connections.platform() as connection:
        connection.execute(statement, [REUSE_WINDOW, digest(first["refresh_token"])])
    assert refused(app.refresh(first["refresh_token"]), "invalid_grant")
    assert refused(app.refresh(second["refresh_token"]), "invalid_grant")
    assert app.userinfo(second["access_token"]).status_code == 401


def test_a_spent_refresh_token_answers_its_own_client_only_and_is_not_active(world: World) -> None:
    app, thief = world.app(), world.app()
    token = world.tokens(app, world.user())["refresh_token"]
    second = app.refresh(token).json()["refresh_token"]
    assert refused(thief.refresh(token), "invalid_grant")
    assert app.post("introspect", token=token).json() == {"active": False}
    assert app.refresh(second).status_code == 200


def test_another_client_cannot_refresh_and_does_not_end_the_family(world: World) -> None:
    app, thief, public = world.app(), world.app(), world.app(None)
    token = world.tokens(app, world.user())["refresh_token"]
    for other in (thief, public):
        assert refused(other.refresh(token), "invalid_grant")
    assert app.refresh(token).status_code == 200


def test_a_refresh_gives_no_scope_that_was_not_granted(world: World) -> None:
    app = world.app()
    token = world.tokens(app, world.user("tenant_admin"), scope=f"offline_access {READ}")["refresh_token"]
    assert refused(app.refresh(token, scope=f"{READ} {WRITE}"), "invalid_scope")
    assert refused(app.refresh(token, scope="openid"), "invalid_scope")
    assert app.refresh(token, scope=READ).json()["scope"] == READ


def test_a_refresh_notices_what_was_taken_from_the_user_and_from_the_client(world: World) -> None:
    app, email = world.app(), world.user("editor")
    tokens = world.tokens(app, email, scope=f"offline_access {READ} {WRITE}")
    assert set(tokens["scope"].split()) == {"offline_access", READ, WRITE}
    world.change_roles(email, "viewer")
    tokens = app.refresh(tokens["refresh_token"]).json()
    assert set(tokens["scope"].split()) == {"offline_access", READ}
    world.parts.clients.save(replace(app.client, scopes=("offline_access", "openid", WRITE)))
    tokens = app.refresh(tokens["refresh_token"]).json()
    assert tokens["scope"] == "offline_access"


def test_without_offline_access_there_is_no_refresh_token(world: World) -> None:
    tokens = world.tokens(world.app(), world.user(), scope=f"openid {READ}")
    assert "refresh_token" not in tokens
    assert "id_token" in tokens
