"""Apps that listen at any port of this machine, and the OIDC Debugger with the local stack's client."""

from collections.abc import Iterator

import pytest
from deeplens.database.connections import Connections
from deeplens.identity.development import CLIENT, EMAIL, OIDC_DEBUGGER, PASSWORD, SWAGGER
from deeplens.identity.development import SECRET as DEVELOPMENT_SECRET

from local.stack.seed import seed
from tests.harness.browser import query_of
from tests.harness.identity_api import IdentityApi


@pytest.fixture
def api(platform_url: str, connections: Connections) -> Iterator[IdentityApi]:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    made = IdentityApi(platform_url)
    yield made
    made.close()


def test_an_app_gets_its_code_at_the_port_it_listens_at_and_redeems_it_only_there(api: IdentityApi) -> None:
    app = api.client(secret_sha256=None, redirect_uris=("http://127.0.0.1/callback",), grants=("authorization_code",))
    address = "http://127.0.0.1:51004/callback"
    browser, user = api.browser(), api.user()
    page = browser.sign_in(browser.open(api.request(app, redirect_uri=address)), user.email, "correct horse battery")
    assert "form-action 'self' http://127.0.0.1:51004" in page.headers["content-security-policy"]
    location = browser.submit(page, decision="allow").headers["location"]
    assert location.startswith(f"{address}?")
    code = query_of(location)["code"]
    assert "access_token" in api.redeem(app, code, redirect_uri=address)
    code = api.code(app, user, redirect_uri=address)["code"]
    assert api.redeem(app, code, redirect_uri="http://127.0.0.1:51005/callback")["error"] == "invalid_grant"


def test_the_development_client_takes_the_redirect_of_the_oidc_debugger(api: IdentityApi) -> None:
    seed(api.parts, api.issuer)
    client = api.parts.clients.find(CLIENT)
    assert client is not None
    try:
        location = api.browser().answer(api.request(client, response_mode="form_post"), EMAIL, PASSWORD)
        assert location.startswith(f"{OIDC_DEBUGGER}?")
        tokens = api.redeem(client, query_of(location)["code"], client_secret=DEVELOPMENT_SECRET)
        assert "access_token" in tokens
    finally:
        with api.parts.connections.platform() as connection:
            connection.execute("DELETE FROM nextgen_identity.users WHERE email = %s", [EMAIL])
            connection.execute("DELETE FROM nextgen_identity.clients WHERE id = ANY(%s)", [[CLIENT, SWAGGER]])
