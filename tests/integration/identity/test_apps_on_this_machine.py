"""Apps that listen at any port of this machine, and the OIDC Debugger with the local stack's client."""

from deeplens.identity.development import CLIENT, EMAIL, OIDC_DEBUGGER, PASSWORD, SWAGGER
from deeplens.identity.development import SECRET as DEVELOPMENT_SECRET

from local.stack.seed import seed
from tests.harness.identity import PASSWORD as PASSWORD_OF_USERS
from tests.harness.identity import IdentityApi


def test_an_app_gets_its_code_at_the_port_it_listens_at_and_redeems_it_only_there(identity: IdentityApi) -> None:
    app = identity.client(
        secret_sha256=None, redirect_uris=("http://127.0.0.1/callback",), grants=("authorization_code",)
    )
    address = "http://127.0.0.1:51004/callback"
    browser, user = identity.browser(), identity.user()
    page = browser.open(identity.request(app, redirect_uri=address))
    page = browser.sign_in(page, user.email, PASSWORD_OF_USERS)
    assert "form-action 'self' http://127.0.0.1:51004" in page.headers["content-security-policy"]
    location = browser.submit(page, decision="allow").headers["location"]
    assert location.startswith(f"{address}?")
    assert "access_token" in identity.redeem(app, location, redirect_uri=address)
    form = identity.code_form(app, identity.granted(app, user, redirect_uri=address))
    assert identity.token_error(app, **form | {"redirect_uri": "http://127.0.0.1:51005/callback"}) == "invalid_grant"


def test_the_development_client_takes_the_redirect_of_the_oidc_debugger(identity: IdentityApi) -> None:
    seed(identity.container, "http://localhost:5198")
    client = identity.container.clients.find(CLIENT)
    assert client is not None
    try:
        address = identity.request(client, response_mode="form_post")
        location = identity.browser().answer(address, EMAIL, PASSWORD)
        assert location.startswith(f"{OIDC_DEBUGGER}?")
        assert "access_token" in identity.redeem(client, location, client_secret=DEVELOPMENT_SECRET)
    finally:
        with identity.container.connections.platform() as connection:
            connection.execute("DELETE FROM nextgen_identity.users WHERE email = %s", [EMAIL])
            connection.execute("DELETE FROM nextgen_identity.clients WHERE id = ANY(%s)", [[CLIENT, SWAGGER]])
