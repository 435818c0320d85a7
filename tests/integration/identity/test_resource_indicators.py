"""A token that a client asked for one API is of no use at the other, and cannot be made so later."""

import jwt
import pytest
from deeplens.access.scopes import READ
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.search_api import create_app
from deeplens.database.connections import Connections
from deeplens.identity.model import Client
from starlette.testclient import TestClient

from tests.harness.applications import application
from tests.harness.browser import query_of
from tests.harness.identity import ISSUER, IdentityApi

SEARCH, ADMIN = f"{ISSUER}/v1", f"{ISSUER}/v1/admin"
ONLY_SEARCH, ONLY_ADMIN = ("resource", SEARCH), ("resource", ADMIN)
REFUSED, OTHERWISE = 401, 403
"""The search API answers an operator, who has no tenant, with 403."""
UNKNOWN = [
    *("", "deeplens.api", "/v1", ISSUER, f"{SEARCH}/", f"{SEARCH}#a", f"{SEARCH}?a=1", SEARCH.upper()),
    *("https://evil.test/v1", f"{SEARCH} {ADMIN}", f"{SEARCH}/../admin"),
]


def audience(token: str) -> list[str]:
    aud = jwt.decode(token, options={"verify_signature": False})["aud"]
    return [aud] if isinstance(aud, str) else list(aud)


def statuses(identity: IdentityApi, token: str) -> tuple[int, int]:
    """What the search API and the Admin API answer."""
    headers = {"Authorization": f"Bearer {token}"}
    apps = [application(create, identity.container) for create in (create_app, create_admin_app)]
    search, admin = (TestClient(app) for app in apps)
    answers = search.get("/v1/images", headers=headers), admin.get("/v1/admin/tenants", headers=headers)
    return answers[0].status_code, answers[1].status_code


@pytest.fixture
def app(identity: IdentityApi, connections: Connections) -> Client:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    return identity.client(grants=("authorization_code", "refresh_token", "client_credentials"))


def test_without_a_resource_a_token_is_for_all_apis(identity: IdentityApi, app: Client) -> None:
    token = identity.token(app, grant_type="client_credentials")["access_token"]
    assert audience(token) == ["deeplens.api"]
    assert statuses(identity, token) == (OTHERWISE, 200)


@pytest.mark.parametrize(
    ("named", "expected", "answers"),
    [
        ([ONLY_SEARCH], [SEARCH], (OTHERWISE, REFUSED)),
        ([ONLY_ADMIN], [ADMIN], (REFUSED, 200)),
        ([ONLY_ADMIN, ONLY_SEARCH, ONLY_ADMIN], [SEARCH, ADMIN], (OTHERWISE, 200)),
    ],
)
def test_a_clients_own_token_is_for_what_it_names(
    identity: IdentityApi,
    app: Client,
    named: list[tuple[str, str]],
    expected: list[str],
    answers: tuple[int, int],
) -> None:
    token = identity.token(app, *named, grant_type="client_credentials")["access_token"]
    assert audience(token) == expected
    assert statuses(identity, token) == answers


def test_a_users_tokens_keep_the_resource_of_the_authorization_request(identity: IdentityApi, app: Client) -> None:
    tokens = identity.redeem(app, identity.granted(app, identity.user(), ONLY_SEARCH))
    assert audience(tokens["access_token"]) == [SEARCH, ISSUER]
    assert statuses(identity, tokens["access_token"]) == (OTHERWISE, REFUSED)
    userinfo = identity.http().get("/connect/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert userinfo.status_code == 200
    again = identity.token(app, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert audience(again["access_token"]) == [SEARCH, ISSUER]
    form = {"grant_type": "refresh_token", "refresh_token": again["refresh_token"]}
    for widening in ([ONLY_ADMIN], [ONLY_SEARCH, ONLY_ADMIN]):
        assert identity.token_error(app, *widening, **form) == "invalid_target"
    # The refused request has not used up the refresh token.
    assert audience(identity.token(app, ONLY_SEARCH, **form)["access_token"]) == [SEARCH, ISSUER]


def test_a_token_request_narrows_and_the_next_refresh_may_name_all_that_was_granted(
    identity: IdentityApi, app: Client
) -> None:
    location = identity.granted(app, identity.user(), ONLY_SEARCH, ONLY_ADMIN)
    tokens = identity.redeem(app, location, ONLY_SEARCH)
    assert audience(tokens["access_token"]) == [SEARCH, ISSUER]
    again = identity.token(app, ONLY_ADMIN, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert audience(again["access_token"]) == [ADMIN, ISSUER]


def test_a_code_for_one_api_is_not_redeemed_for_the_other(identity: IdentityApi, app: Client) -> None:
    form = identity.code_form(app, identity.granted(app, identity.user(), ONLY_SEARCH))
    assert identity.token_error(app, ONLY_ADMIN, **form) == "invalid_target"


@pytest.mark.parametrize("resource", UNKNOWN)
def test_an_unknown_resource_is_refused_at_every_endpoint(identity: IdentityApi, app: Client, resource: str) -> None:
    for named in ([("resource", resource)], [ONLY_SEARCH, ("resource", resource)]):
        assert identity.token_error(app, *named, grant_type="client_credentials") == "invalid_target"
        answer = identity.browser().open(identity.request(app, *named, state="a state", scope=READ))
        parameters = query_of(answer.headers["location"])
        assert answer.headers["location"].startswith(app.redirect_uris[0])
        assert (parameters["error"], parameters["state"], parameters["iss"]) == ("invalid_target", "a state", ISSUER)


def test_a_token_for_one_api_is_described_and_no_other_parameter_may_be_repeated(
    identity: IdentityApi, app: Client
) -> None:
    token = identity.token(app, ONLY_SEARCH, grant_type="client_credentials")["access_token"]
    form = {"client_id": app.id, "client_secret": "a client's secret", "token": token}
    assert identity.http().post("/connect/introspect", data=form).json()["active"] is True
    for name in ("scope", "grant_type", "audience"):
        error = identity.token_error(app, (name, READ), (name, READ), grant_type="client_credentials")
        assert error == "invalid_request"


def test_before_the_columns_exist_tokens_are_issued_as_before(
    identity: IdentityApi, app: Client, connections: Connections
) -> None:
    def rename(before: str, after: str) -> None:
        with connections.platform() as connection:
            for table in ("authorization_codes", "token_families"):
                statement = f"ALTER TABLE nextgen_identity.{table} RENAME COLUMN {before} TO {after}"
                connection.execute(statement.encode())

    rename("resources", "put_away")
    try:
        tokens = identity.redeem(app, identity.granted(app, identity.user()))
        again = identity.token(app, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert audience(again["access_token"]) == ["deeplens.api", ISSUER]
    finally:
        rename("put_away", "resources")
