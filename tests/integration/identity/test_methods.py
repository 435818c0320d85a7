"""Tokens say how and when their user signed in, also before the database has the columns for it."""

import secrets
from datetime import UTC, datetime
from io import StringIO

import jwt
import pytest
from alembic import command
from deeplens.access.scopes import READ
from deeplens.database import migrate
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.identity.model import PASSWORD_ONLY, Code, acr_of
from deeplens.provisioning import provision

from tests.harness.identity import PASSWORD, IdentityApi

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("methods", "acr"),
    [
        (("pwd",), "aal1"),
        (("fed",), "aal1"),
        ((), "aal1"),
        (("pwd", "otp", "mfa"), "aal2"),
        (("hwk", "user", "mfa"), "aal2"),
    ],
)
def test_only_several_factors_are_strong(methods: tuple[str, ...], acr: str) -> None:
    assert acr_of(methods) == acr


def test_tokens_say_how_and_when_their_user_signed_in(identity: IdentityApi) -> None:
    client, user, browser = identity.client(), identity.user(), identity.browser()
    location = browser.answer(identity.request(client), user.email, PASSWORD)
    tokens = identity.redeem(client, location)
    refreshed = identity.token(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    session = identity.container.users.session(browser.cookie("deeplens-session") or "", datetime.now(UTC))
    assert session is not None
    for token in (*(tokens[name] for name in ("access_token", "id_token")), refreshed["access_token"]):
        claims = jwt.decode(token, options={"verify_signature": False})
        signed_in = int(session.authenticated_at.timestamp())
        assert (claims["amr"], claims["acr"], claims["auth_time"]) == (["pwd"], "aal1", signed_in)


def walk(identity: IdentityApi, methods: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The methods of a session, of a code and of its family."""
    client, user = identity.client(), identity.user()
    users, grants = identity.container.users, identity.container.grants
    session = users.session(users.open_session(user, NOW, methods), NOW)
    assert session is not None
    code, family = secrets.token_urlsafe(), secrets.token_urlsafe()
    content = Code(family, client.id, user.id, session.id, "https://a.test", (READ,), None, "c" * 43, NOW, methods)
    grants.issue_code(code, content, NOW)
    redeemed, kept = grants.redeem_code(code, client.id, NOW), grants.family(family, NOW)
    assert redeemed
    assert kept
    return session.methods, redeemed.methods, kept.methods


@pytest.mark.parametrize("methods", [PASSWORD_ONLY, ("pwd", "otp", "mfa")])
def test_methods_go_from_the_session_to_the_tokens(identity: IdentityApi, methods: tuple[str, ...]) -> None:
    assert walk(identity, methods) == (methods,) * 3


def test_passwords_sign_in_before_the_migration(platform_url: str) -> None:
    url = database_url(platform_url, "deeplens_before_methods")
    provision.create_database(platform_url, "deeplens_before_methods")
    config = migrate._config("platform")
    config.output_buffer = StringIO()
    command.upgrade(config, "base:0016", sql=True)
    with connect(url) as connection:
        connection.execute(config.output_buffer.getvalue().encode())
    connections = Connections(url)
    assert walk(IdentityApi(connections), PASSWORD_ONLY) == (PASSWORD_ONLY,) * 3
    connections.close()
