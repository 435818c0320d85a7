"""What a registered client may do."""

from dataclasses import replace

import pytest
from deeplens.access.api_keys import digest
from deeplens.access.scopes import ADMIN, READ
from deeplens.identity.model import Client

CALLBACK = "https://app.test/callback"


def client(secret: str | None = "secret", scopes: tuple[str, ...] = ("openid", READ)) -> Client:
    return Client(
        id="app",
        tenant_id=None,
        name="App",
        secret_sha256=digest(secret) if secret else None,
        redirect_uris=(CALLBACK,),
        post_logout_redirect_uris=(),
        grants=("authorization_code",),
        scopes=scopes,
    )


def test_a_redirect_uri_is_the_registered_one() -> None:
    assert client().check_redirect_uri(CALLBACK)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://app.test",
        "https://app.test/",
        f"{CALLBACK}/",
        f"{CALLBACK}/more",
        f"{CALLBACK}?next=1",
        f"{CALLBACK}#fragment",
        f"{CALLBACK}/../other",
        f"{CALLBACK}%20",
        f" {CALLBACK}",
        "https://app.test/Callback",
        "https://APP.test/callback",
        "HTTPS://app.test/callback",
        "http://app.test/callback",
        "https://app.test:443/callback",
        "https://app.test.evil.test/callback",
        "https://evil.test/callback",
        "https://app.test@evil.test/callback",
        "//app.test/callback",
        "javascript:alert(1)",
    ],
)
def test_no_other_redirect_uri_is_taken(uri: str) -> None:
    assert not client().check_redirect_uri(uri)


@pytest.mark.parametrize(
    ("registered", "uri", "accepted"),
    [
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1/cb", True),
        ("http://127.0.0.1:8080/cb", "http://127.0.0.1:51004/cb", True),
        ("http://127.0.0.1:8080/cb", "http://127.0.0.1/cb", True),
        ("http://[::1]:8080/cb?a=1", "http://[::1]:51004/cb?a=1", True),
        ("http://127.0.0.1", "http://127.0.0.1:1", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?a=1", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb#a", False),
        ("http://127.0.0.1/cb", "http://[::1]:51004/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.2:51004/cb", False),
        ("http://127.0.0.1/cb", "http://127.1:51004/cb", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1:51004/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:@evil.test/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.test/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:80.evil.test/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:000080/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.test/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", False),
        ("http://127.0.0.1", "http://127.0.0.1\\@evil.test", False),
        ("http://localhost:8080/cb", "http://localhost:51004/cb", False),
        ("http://localhost/cb", "http://127.0.0.1:51004/cb", False),
        ("https://app.test:8080/cb", "https://app.test:51004/cb", False),
    ],
)
def test_an_app_on_this_machine_listens_at_any_port(registered: str, uri: str, accepted: bool) -> None:
    assert replace(client(), redirect_uris=(CALLBACK, registered)).check_redirect_uri(uri) is accepted


def test_no_redirect_uri_is_assumed() -> None:
    assert client().get_default_redirect_uri() is None


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, READ),
        ("", READ),
        ("   ", READ),
        ("openid", "openid"),
        (f"openid {READ}", f"openid {READ}"),
        (f"{READ}  {READ}", READ),
        (ADMIN, None),
        (f"{READ} {ADMIN}", None),
        ("OpenID", None),
    ],
)
def test_a_client_is_given_what_it_may_ask_for_or_nothing_at_all(asked: str | None, given: str | None) -> None:
    assert client().get_allowed_scope(asked) == given


def test_a_client_without_api_scopes_has_to_ask_for_something() -> None:
    assert client(scopes=("openid",)).get_allowed_scope(None) is None


def test_only_the_secret_is_the_secret() -> None:
    assert client().check_client_secret("secret")
    assert not client().check_client_secret("Secret")
    assert not client().check_client_secret("")
    assert not client(secret=None).check_client_secret("")


@pytest.mark.parametrize(
    ("secret", "methods"),
    [("secret", {"client_secret_basic", "client_secret_post", "private_key_jwt"}), (None, {"none"})],
)
def test_a_client_with_a_secret_must_show_it(secret: str | None, methods: set[str]) -> None:
    every = ("client_secret_basic", "client_secret_post", "none", "private_key_jwt")
    assert {one for one in every if client(secret).check_endpoint_auth_method(one, "token")} == methods


def test_grants_and_response_types_are_the_registered_ones() -> None:
    assert client().check_grant_type("authorization_code")
    assert not client().check_grant_type("client_credentials")
    assert client().check_response_type("code")
    assert not any(map(client().check_response_type, ("token", "code id_token", "id_token", "")))
