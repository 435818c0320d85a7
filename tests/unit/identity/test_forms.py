"""Forms that only our own pages can send, and cookies that only we can set."""

from http.cookies import SimpleCookie
from typing import Any, cast

import pytest
from deeplens.identity.forms import FIELD, Browser, Cookies, origin_of
from deeplens.identity.model import Issuer
from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import Response

ISSUER = "https://id.deeplens.test"
SECRET = "s" * 32
NONE = cast("Any", None)
BROWSER = Browser(NONE, NONE, NONE, Issuer(ISSUER), NONE, NONE)


def request(cookie: str | None = SECRET, **headers: str) -> Request:
    sent = {**({"cookie": f"__Host-form={cookie}"} if cookie is not None else {}), **headers}
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": pairs, "query_string": b""})


def ours(sent: Request, secret: str | None = SECRET) -> bool:
    return BROWSER.sent_form(sent, FormData([] if secret is None else [(FIELD, secret)]))


@pytest.mark.parametrize("origin", [None, ISSUER, "null"])
def test_a_form_of_our_own_page_is_taken(origin: str | None) -> None:
    assert ours(request(**({} if origin is None else {"origin": origin})))


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "https://id.deeplens.test.evil.test",
        "http://id.deeplens.test",
        "https://id.deeplens.test:8443",
        "https://deeplens.test",
        "",
    ],
)
def test_a_form_from_another_site_is_refused_whatever_it_holds(origin: str) -> None:
    assert not ours(request(origin=origin))


@pytest.mark.parametrize(
    ("cookie", "field"),
    [(SECRET, None), (SECRET, ""), (SECRET, "other"), (None, SECRET), ("", ""), ("", SECRET), (SECRET, "é")],
)
def test_a_form_without_the_browsers_secret_is_refused(cookie: str | None, field: str | None) -> None:
    assert not ours(request(cookie), field)


def test_a_file_is_no_secret() -> None:
    assert not BROWSER.sent_form(request(), FormData([]))


def attributes(response: Response) -> dict[str, dict[str, str]]:
    cookie = SimpleCookie()
    for name, value in response.raw_headers:
        if name == b"set-cookie":
            cookie.load(value.decode())
    return {name: {key: str(value) for key, value in morsel.items() if value} for name, morsel in cookie.items()}


def test_cookies_are_for_this_host_alone_and_out_of_reach_for_scripts() -> None:
    response = Response()
    Cookies(ISSUER).write(response, "session", "secret", 60)
    expected = {"path": "/", "secure": "True", "httponly": "True", "samesite": "lax", "max-age": "60"}
    assert attributes(response) == {"__Host-session": expected}


def test_without_https_as_on_one_machine_the_prefix_is_left_out() -> None:
    response = Response()
    Cookies("http://localhost:5198").write(response, "form", "secret")
    assert attributes(response) == {"deeplens-form": {"path": "/", "httponly": "True", "samesite": "lax"}}


def test_removing_a_cookie_names_the_same_one() -> None:
    response = Response()
    Cookies(ISSUER).remove(response, "session")
    removed = attributes(response)["__Host-session"]
    assert (removed["max-age"], removed["path"], removed["secure"]) == ("0", "/", "True")


def test_a_page_runs_nothing_is_framed_by_nobody_and_is_not_kept() -> None:
    answer = BROWSER.page(request(), "refusal", 400, reason="<script>alert(1)</script>")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert policy.endswith("frame-ancestors 'none'; form-action 'self'")
    assert answer.headers["cache-control"] == "no-store"
    assert b"<script" not in answer.body
    assert b"&lt;script&gt;" in answer.body


def test_a_page_keeps_the_browsers_secret_so_that_two_open_pages_both_work() -> None:
    first = BROWSER.page(request(cookie=None), "sign_in", goal="", email="", fault="")
    secret = SimpleCookie(first.headers["set-cookie"])["__Host-form"].value
    second = BROWSER.page(request(cookie=secret), "sign_in", goal="", email="", fault="")
    assert len(secret) >= 32
    assert f'value="{secret}"'.encode() in bytes(first.body)
    assert f'value="{secret}"'.encode() in bytes(second.body)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.test/callback?a=b", "https://app.test"),
        ("http://127.0.0.1:8080/cb", "http://127.0.0.1:8080"),
        ("com.example.app:/callback", "com.example.app:"),
        ("https://app.test; script-src *", ""),
        ("https://app.test;script-src/callback", ""),
        ("/callback", ""),
        ("", ""),
    ],
)
def test_the_origin_of_an_address(url: str, origin: str) -> None:
    assert origin_of(url) == origin
