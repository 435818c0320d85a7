"""Malformed requests are refused and break nothing."""

from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests.e2e.identity.conftest import GOODBYE, PASSWORD, World
from tests.harness.browser import query_of
from tests.harness.refusals import EVIL, forged


@pytest.mark.parametrize("endpoint", ["token", "revocation", "introspect"])
@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", ""),
        (b"{}", "application/json"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=%00&token=%00&client_id=%00&client_secret=%00", "application/x-www-form-urlencoded"),
        (b"grant_type=a&grant_type=b&token=a&token=b", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=b" % i for i in range(5000)), "application/x-www-form-urlencoded"),
        (b"token=" + b"x" * 60_000, "application/x-www-form-urlencoded"),
        (b"token=" + b"x" * 100_000, "application/x-www-form-urlencoded"),
        (b"--a\r\n", "multipart/form-data; boundary=a"),
        (b"no boundary", "multipart/form-data"),
        (b'--a\r\nContent-Disposition: form-data; name="token"; filename="f"\r\n\r\nx\r\n--a--\r\n',
         "multipart/form-data; boundary=a"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_breaks_nothing(
    world: World, endpoint: str, content: bytes, media_type: str
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = world.http.post(f"{world.issuer}/connect/{endpoint}", content=content, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !",
        "Basic /w==",
        "Basic YXBwJTAwOng=",
        "Basic OjpA",
        "Bearer",
        "Bearer a.b.c",
        "Basic " + "a" * 9000,
    ],
)
def test_credentials_that_are_none_are_refused(world: World, header: str) -> None:
    form = {"grant_type": "client_credentials", "token": "a"}
    for endpoint in ("token", "revocation", "introspect", "userinfo"):
        answer = world.http.post(f"{world.issuer}/connect/{endpoint}", data=form, headers={"Authorization": header})
        assert answer.status_code in (400, 401), f"{endpoint}: {answer.status_code} {answer.text}"


@pytest.mark.parametrize("hint", ["", "a.b.c", "x" * 5000, "\x00"])
def test_sign_out_with_a_bad_hint_sends_nobody_anywhere(world: World, hint: str) -> None:
    query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": GOODBYE, "client_id": world.app().client.id})
    answer = world.browser().open(f"/connect/endsession?{query}")
    assert answer.status_code in (200, 400)


def test_sign_out_leads_only_to_a_registered_address_of_the_tokens_client(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    tokens = app.redeem(query_of(browser.answer(app.request(), reader, PASSWORD))["code"]).json()
    stranger = world.app(post_logout_redirect_uris=(f"{EVIL}/goodbye",))

    def leave(hint: str, uri: str, **more: str) -> httpx.Response:
        query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": uri, **more})
        return world.browser().open(f"/connect/endsession?{query}")

    hint = tokens["id_token"]
    assert leave(hint, GOODBYE).headers["location"] == GOODBYE
    assert leave(hint, f"{EVIL}/goodbye").status_code == 200
    assert leave(hint, f"{GOODBYE}/").status_code == 200
    assert leave(hint, f"{EVIL}/goodbye", client_id=stranger.client.id).status_code == 400
    # An access token is no ID token, though it has the same signature.
    assert not leave(tokens["access_token"], GOODBYE, client_id=app.client.id).is_redirect
    for wrong in forged(hint):
        assert leave(wrong, GOODBYE).status_code == 400


def test_an_access_token_as_hint_signs_nobody_out(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    tokens = app.redeem(query_of(browser.answer(app.request(), reader, PASSWORD))["code"]).json()
    browser.open(f"/connect/endsession?{urlencode({'id_token_hint': tokens['access_token']})}")
    assert reader in browser.open("/account/sign-in").text


def test_only_what_is_documented_is_served(world: World) -> None:
    for method, path, status in (
        ("GET", "/connect/token", 405),
        ("GET", "/connect/nothing", 404),
        ("PUT", "/account/sign-in", 405),
        ("GET", "/swagger/nothing", 404),
        ("GET", "/swagger/assets/../page.html", 404),
    ):
        answer = world.http.request(method, f"{world.issuer}{path}")
        assert answer.status_code == status, path
        assert urlsplit(str(answer.url)).path.startswith("/")
