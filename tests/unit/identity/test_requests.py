"""What the protocol's grammar has no place for is refused before anything reads it."""

import base64
from contextlib import suppress

import pytest
from authlib.oauth2.rfc6749 import InvalidRequestError
from deeplens.identity.requests import MAX_VALUE_CHARS, ProtocolRequest, check_parameters
from hypothesis import given
from hypothesis import strategies as st


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def request(*form: tuple[str, str], headers: dict[str, str] | None = None) -> ProtocolRequest:
    return ProtocolRequest("POST", "https://localhost/connect/token", headers or {}, [], list(form))


@pytest.mark.parametrize(
    "form",
    [
        [],
        [("grant_type", "client_credentials"), ("scope", "a b")],
        [("state", 'ÄÖÜ \U0001f600 "quoted" \\')],
        [("nonce", "x" * MAX_VALUE_CHARS)],
    ],
)
def test_an_ordinary_request_passes(form: list[tuple[str, str]]) -> None:
    check_parameters(request(*form, headers=basic("app:se%20cret")))


@pytest.mark.parametrize(
    "form",
    [
        [("scope", "a"), ("scope", "a")],
        [("scope", "a"), ("scope", "b")],
        [("state", "a\x00")],
        [("state", "a\r\nSet-Cookie: b=c")],
        [("state", "\x7f")],
        [("state", "\ud800")],
        [("a\nb", "c")],
        [("nonce", "x" * (MAX_VALUE_CHARS + 1))],
        [("client_id", "ä")],
        [("client_id", 'a"b')],
        [("redirect_uri", "https://app.test/\\")],
    ],
)
def test_what_is_repeated_too_long_or_no_text_is_refused(form: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError):
        check_parameters(request(*form))


def test_a_parameter_in_query_and_form_is_given_twice() -> None:
    twice = ProtocolRequest("POST", "https://localhost/", {}, [("scope", "a")], [("scope", "a")])
    with pytest.raises(InvalidRequestError):
        check_parameters(twice)


@pytest.mark.parametrize(
    "header",
    [
        "Basic /w==",  # not UTF-8
        basic("app\x00:secret")["Authorization"],
        basic("app:sec\nret")["Authorization"],
        basic("app%00:secret")["Authorization"],  # what it is after RFC 6749's decoding counts
        basic("app:%0D%0A")["Authorization"],
    ],
)
def test_credentials_that_are_none_are_refused(header: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_parameters(request(headers={"Authorization": header}))


def test_another_scheme_is_not_ours_to_judge() -> None:
    check_parameters(request(headers={"Authorization": "Bearer \x00"}))


@given(st.lists(st.tuples(st.text(), st.text())), st.text())
def test_nothing_breaks_the_check(form: list[tuple[str, str]], header: str) -> None:
    with suppress(InvalidRequestError):
        check_parameters(request(*form, headers={"Authorization": f"Basic {header}"}))
