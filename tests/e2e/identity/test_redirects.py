"""No request makes the server redirect to an address that is not registered."""

from urllib.parse import urlencode

import pytest

from tests.e2e.identity.conftest import CALLBACK, GOODBYE, PASSWORD, App, World
from tests.harness.browser import form_of, query_of
from tests.harness.refusals import EVIL, page_of


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        f"{CALLBACK}/",
        CALLBACK[:-1],
        f"{CALLBACK}?next=1",
        f"{CALLBACK}#fragment",
        CALLBACK.replace("callback", "Callback"),
        CALLBACK.replace("app.localhost", "APP.localhost"),
        CALLBACK.replace(":9", ":90"),
        CALLBACK.replace("http:", "https:"),
        GOODBYE,
        f"{EVIL}/?{CALLBACK}",
        f"{CALLBACK}@evil.test",
        "//evil.test",
        "javascript:alert(1)",
        "data:text/html,hello",
    ],
)
@pytest.mark.parametrize("fault", [{}, {"scope": "unknown", "prompt": "none"}], ids=str)
def test_nobody_is_sent_to_an_address_that_is_not_registered(
    world: World, app: App, uri: str | None, fault: dict[str, str]
) -> None:
    page_of(world.browser().open(app.request(redirect_uri=uri, **fault)))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "openid unknown"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": f"{EVIL}/request"}, "request_uri_not_supported"),
    ],
    ids=str,
)
def test_the_client_is_told_what_is_wrong_with_its_request(
    world: World, app: App, changed: dict[str, str], error: str
) -> None:
    answer = world.browser().open(app.request(**changed))
    location = answer.headers["location"]
    assert location.startswith(f"{CALLBACK}?")
    parameters = query_of(location)
    assert (parameters["error"], parameters["state"], parameters["iss"]) == (error, "a state", world.issuer)


@pytest.mark.parametrize("state", ["a b&c=d#e", "ä€\U0001f600", '"><script>', "%0d%0a", None, "x" * 4000])
def test_the_state_comes_back_as_it_was_sent(world: World, app: App, state: str | None) -> None:
    answer = world.browser().open(app.request(state=state, prompt="none"))
    assert query_of(answer.headers["location"]).get("state") == state


@pytest.mark.parametrize("client_id", [None, "", "unknown", "a\x00b", "ä", "x" * 9000, '"><script>alert(1)</script>'])
def test_an_unknown_client_gets_a_page(world: World, client_id: str | None) -> None:
    assert "<script" not in page_of(world.browser().open(world.app().request(client_id=client_id)))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "scope", "state", "code_challenge", "prompt", "odd"])
def test_a_parameter_given_twice_gets_a_page(world: World, name: str) -> None:
    page_of(world.browser().open(f"{world.app().request(prompt='login', odd='1')}&{name}=again"))


@pytest.mark.parametrize(
    "goal",
    [
        EVIL,
        "//evil.test",
        "///evil.test",
        "\\\\evil.test",
        "/\\evil.test",
        "/connect/authorize",
        "/connect/authorize@evil.test",
        "/connect/authorize/../../evil",
        "https:/connect/authorize?",
        f"{EVIL}/connect/authorize?a",
        "/connect/authorize?a\r\nLocation: https://evil.test",
        "/connect/authorize?a\x00",
        "javascript:alert(1)",
        " /connect/authorize?a",
        "/swagger",
    ],
)
def test_after_signing_in_nobody_is_sent_elsewhere(world: World, reader: str, goal: str) -> None:
    browser = world.browser()
    page = browser.open(f"/account/sign-in?{urlencode({'return': goal})}")
    fields = {**form_of(page).fields, "email": reader, "password": PASSWORD}
    for address in (form_of(page).action, f"/account/sign-in?{urlencode({'return': goal})}"):
        answer = browser.http.post(f"{world.issuer}{address}", data=fields)
        assert answer.status_code in (303, 400)
        assert answer.headers.get("location", "/account") == "/account"
