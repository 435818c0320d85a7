"""What the identity API refuses: attacks on codes, tokens, redirects, forms and sessions."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from deeplens.auth.scopes import ADMIN, READ, WRITE

from tests.e2e.identity.browser import form_of, query_of
from tests.e2e.identity.conftest import CALLBACK, GOODBYE, PASSWORD, SECRET, App, World

EVIL = "https://evil.test"


@pytest.fixture(scope="module")
def app(world: World) -> App:
    return world.app()


@pytest.fixture(scope="module")
def reader(world: World) -> str:
    """The address of a user whom no test changes."""
    return world.user("viewer")


def refused(answer: httpx.Response, error: str, *statuses: int) -> bool:
    """Whether it is OAuth's answer with this error, that nobody may keep."""
    assert answer.status_code in (statuses or (400, 401)), f"{answer.status_code} {answer.text}"
    assert "no-store" in answer.headers["cache-control"]
    assert "Traceback" not in answer.text
    return bool(answer.json()["error"] == error)


def page_of(answer: httpx.Response, status: int = 400) -> str:
    """The text of a page that says no, and sends nobody anywhere."""
    assert answer.status_code == status, f"{answer.status_code} {answer.headers.get('location')} {answer.text}"
    assert "location" not in answer.headers
    assert "Traceback" not in answer.text
    return answer.text


# Codes.


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
    won = [one.json() for one in answers if one.status_code == 200]
    assert len(won) <= 1
    assert all(refused(one, "invalid_grant") for one in answers if one.status_code != 200)
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
    told = query_of(answer.headers["location"])
    assert (told["error"], told["state"], told["iss"]) == ("invalid_request", "a state", world.issuer)
    assert "code" not in told


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


def test_of_refreshes_at_the_same_time_at_most_one_wins(world: World) -> None:
    app = world.app()
    token = world.tokens(app, world.user())["refresh_token"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.refresh(token), range(6)))
    assert sum(one.status_code == 200 for one in answers) <= 1
    assert {one.status_code for one in answers} <= {200, 400}


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


# Redirects.


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
    told = query_of(location)
    assert (told["error"], told["state"], told["iss"]) == (error, "a state", world.issuer)


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
        assert answer.headers.get("location", "/account/sign-in") == "/account/sign-in"


# Tokens in the wrong place.


def test_only_an_access_token_opens_the_api(world: World) -> None:
    app = world.app()
    tokens = world.tokens(app, world.user(), scope=f"openid offline_access {READ}")
    assert world.search(tokens["access_token"]).status_code == 200
    for wrong in (tokens["id_token"], tokens["refresh_token"]):
        assert world.search(wrong).status_code == 401
        assert app.userinfo(wrong).status_code == 401


def test_a_token_for_signing_in_only_does_not_open_the_api_nor_the_reverse(world: World) -> None:
    app, email = world.app(), world.user()
    for_userinfo = world.tokens(app, email, scope="openid")["access_token"]
    for_api = world.tokens(app, email, scope=READ)["access_token"]
    assert world.search(for_userinfo).status_code == 401
    assert app.userinfo(for_userinfo).status_code == 200
    assert app.userinfo(for_api).status_code == 403


def test_a_scope_opens_what_it_names(world: World) -> None:
    token = world.tokens(world.app(), world.user("viewer"))["access_token"]
    picture = {"file": ("a.jpg", b"a picture")}
    upload = world.http.post(f"{world.api_url}/v1/images", files=picture, headers={"Authorization": f"Bearer {token}"})
    assert upload.status_code == 403


def forged(token: str, **changed: Any) -> list[str]:
    """The token again as attackers sign it: not at all, with the public key, with a key of their own."""
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changed}
    header = jwt.get_unverified_header(token)
    own = generate_private_key(public_exponent=65537, key_size=2048)
    unsigned = [
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({**header, "alg": algorithm}, claims)
        )
        + "."
        for algorithm in ("none", "NONE", "RS256")
    ]
    shared = jwt.encode(claims, "k" * 64, "HS256", {**header, "alg": "HS256"})
    return [*unsigned, jwt.encode(claims, own, "RS256", header), shared]


def test_forged_tokens_are_worth_nothing_anywhere(world: World) -> None:
    app = world.app()
    token = world.tokens(app, world.user())["access_token"]
    for wrong in [*forged(token), *forged(token, exp=int(time.time()) + 10**6), token[:-4], f"{token}A"]:
        assert world.search(wrong).status_code == 401
        assert app.userinfo(wrong).status_code == 401
        assert app.post("introspect", token=wrong).json() == {"active": False}


def test_a_client_learns_nothing_of_other_tenants_tokens(world: World) -> None:
    token = world.tokens(world.app(), world.user())
    stranger = world.app(tenant_id=None, scopes=(READ,))
    for one in (token["access_token"], token["refresh_token"]):
        assert stranger.post("introspect", token=one).json() == {"active": False}
        assert refused(stranger.post("revocation", token=one), "invalid_grant")
    assert refused(world.app(None).post("introspect", token=token["access_token"]), "invalid_client")


# Scopes.


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_a_user_cannot_grant_what_the_roles_do_not_give(world: World, role: str) -> None:
    wanted = f"openid {READ} {WRITE} {ADMIN}"
    tokens = world.tokens(world.app(), world.user(role), scope=wanted)
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert ADMIN not in tokens["scope"].split()
    assert ADMIN not in claims["scope"].split()
    assert (WRITE in tokens["scope"].split()) == (role == "editor")


def test_a_viewer_who_is_asked_for_admin_alone_grants_nothing(world: World) -> None:
    browser = world.browser()
    page = browser.sign_in(browser.open(world.app().request(scope=ADMIN)), world.user("viewer"), PASSWORD)
    assert query_of(page.headers["location"])["error"] == "invalid_scope"


@pytest.mark.parametrize("scope", [ADMIN, f"{READ} {ADMIN}", "openid", "offline_access", "everything"])
def test_a_machine_gets_the_scopes_of_its_client_only(world: World, scope: str) -> None:
    app = world.app(scopes=("openid", "offline_access", READ))
    assert refused(app.token("client_credentials", scope=scope), "invalid_scope")
    assert app.token("client_credentials").json()["scope"] == READ


def test_a_grant_that_is_not_the_clients_is_refused(world: World) -> None:
    app = world.app(grants=("authorization_code",))
    assert refused(app.token("client_credentials"), "unauthorized_client")
    assert refused(app.token("password", username="a", password="b"), "unsupported_grant_type")
    assert refused(app.token(""), "unsupported_grant_type")
    assert "refresh_token" not in world.tokens(app, world.user())
    assert refused(world.app(None).token("client_credentials"), "invalid_client")


# Forms, sessions and cookies.


def test_a_form_is_only_taken_from_our_own_page(world: World, reader: str) -> None:
    browser = world.browser()
    page = browser.open("/account/sign-in")
    form = {**form_of(page).fields, "email": reader, "password": PASSWORD}
    address = f"{world.issuer}/account/sign-in"
    without = {name: value for name, value in form.items() if name != "form_secret"}
    assert browser.http.post(address, data=without).status_code == 400
    assert browser.http.post(address, data={**form, "form_secret": "guessed"}).status_code == 400
    assert browser.http.post(address, data=form, headers={"Origin": EVIL}).status_code == 400
    assert world.browser().http.post(address, data=form).status_code == 400
    assert browser.cookie("deeplens-session") is None
    assert browser.http.post(address, data=form).status_code == 303


def test_consent_is_only_taken_from_our_own_page(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    page = browser.sign_in(browser.open(app.request()), reader, PASSWORD)
    form = form_of(page)
    address = f"{world.issuer}{form.action}"
    for fields, headers in (
        ({"decision": "allow", "form_secret": "guessed"}, {}),
        ({"decision": "allow", **form.fields}, {"Origin": EVIL}),
    ):
        page_of(browser.http.post(address, data=fields, headers=headers))
    # Without the secret it is a client's request by POST: it leads to the page again, never past it.
    again = browser.open(browser.http.post(address, data={"decision": "allow"}).headers["location"])
    assert again.status_code in (200, 400)
    answer = browser.submit(page, decision="deny")
    assert query_of(answer.headers["location"])["error"] == "access_denied"


def test_a_foreign_page_cannot_sign_a_person_out(world: World, reader: str) -> None:
    browser = world.browser()
    browser.sign_in(browser.open("/account/sign-in"), reader, PASSWORD)
    address = f"{world.issuer}/connect/endsession"
    assert "Sign out?" in browser.http.get(address).text
    assert "Sign out?" in browser.http.post(address, data={}).text
    asking = browser.open("/connect/endsession")
    stolen = form_of(asking).fields
    assert "Sign out?" in browser.http.post(address, data=stolen, headers={"Origin": EVIL}).text
    assert reader in browser.open("/account/sign-in").text
    assert "You are signed out" in browser.submit(asking).text
    assert reader not in browser.open("/account/sign-in").text


def test_signing_in_never_takes_over_a_planted_session(world: World) -> None:
    victim, attacker = world.browser(), world.browser()
    own = world.user()
    attacker.sign_in(attacker.open("/account/sign-in"), own, PASSWORD)
    world.age_sessions(own, seconds=60)
    planted = attacker.cookie("deeplens-session")
    assert planted
    victim.http.cookies.set("deeplens-session", planted, domain="localhost.local", path="/")
    page = victim.open(world.app().request(prompt="login"))
    victim.sign_in(page, world.user(), PASSWORD)
    assert victim.cookie("deeplens-session") != planted
    assert "Email address" in attacker.open("/account/sign-in").text


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(world: World, reader: str) -> None:
    browser = world.browser()
    page = browser.open("/account/sign-in")
    fields = {**form_of(page).fields, "email": reader, "password": PASSWORD}
    signed_in = browser.http.post(f"{world.issuer}/account/sign-in", data=fields)
    for answer in (page, signed_in):
        for cookie in answer.headers.get_list("set-cookie"):
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= attributes
            assert not any(one.startswith("domain") for one in attributes)


def test_wrong_passwords_lock_an_account_and_tell_no_more_than_unknown_ones(world: World) -> None:
    known, browser = world.user(), world.browser()
    page = browser.open("/account/sign-in")
    answers = [browser.sign_in(page, email, "wrong password") for email in (known, "nobody@example.test")]
    texts = [one.text.replace(known, "").replace("nobody@example.test", "") for one in answers]
    assert [one.status_code for one in answers] == [401, 401]
    assert texts[0] == texts[1]
    for _ in range(4):
        browser.sign_in(page, known, "wrong password")
    assert browser.sign_in(page, known, PASSWORD).status_code == 401
    assert browser.cookie("deeplens-session") is None


# What a client may ask of the sign-in.


def test_prompt_none_shows_no_page(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    assert query_of(browser.open(app.request(prompt="none")).headers["location"])["error"] == "login_required"
    browser.sign_in(browser.open("/account/sign-in"), reader, PASSWORD)
    assert query_of(browser.open(app.request(prompt="none")).headers["location"])["error"] == "consent_required"
    browser.submit(browser.open(app.request()), decision="allow")
    assert "code" in query_of(browser.open(app.request(prompt="none")).headers["location"])


def test_prompt_login_and_max_age_ask_for_the_password_again(world: World, reader: str) -> None:
    app, browser = world.app(needs_consent=False), world.browser()
    browser.answer(app.request(), reader, PASSWORD)
    world.age_sessions(reader, seconds=60)
    assert "code" in query_of(browser.open(app.request(max_age="3600")).headers["location"])
    for wish in ({"prompt": "login"}, {"max_age": "30"}, {"max_age": "0"}):
        assert "Email address" in browser.open(app.request(**wish)).text
    for wish in ({"prompt": "none", "max_age": "30"},):
        assert query_of(browser.open(app.request(**wish)).headers["location"])["error"] == "login_required"
    answer = browser.answer(app.request(prompt="login", max_age="30"), reader, PASSWORD)
    claims = jwt.decode(app.redeem(query_of(answer)["code"]).json()["id_token"], options={"verify_signature": False})
    assert time.time() - claims["auth_time"] < 30


def test_a_person_may_take_time_over_consent_after_prompt_login(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    page = browser.sign_in(browser.open(app.request(prompt="login consent", max_age="0")), reader, PASSWORD)
    world.age_sessions(reader, seconds=60)
    assert "code" in query_of(browser.submit(page, decision="allow").headers["location"])


def test_prompt_consent_asks_again_and_more_scopes_do_too(world: World, reader: str) -> None:
    app, browser = world.app(), world.browser()
    browser.answer(app.request(scope="openid"), reader, PASSWORD)
    assert browser.open(app.request(scope="openid")).is_redirect
    assert "Allow Photo shop?" in browser.open(app.request(scope="openid", prompt="consent")).text
    assert "Allow Photo shop?" in browser.open(app.request(scope=f"openid {READ}")).text


@pytest.mark.parametrize("wish", [{"max_age": "-1"}, {"max_age": "x"}, {"max_age": "9" * 40}, {"prompt": "dance"}])
def test_odd_wishes_break_nothing(world: World, reader: str, wish: dict[str, str]) -> None:
    page = world.browser().open(world.app().request(**wish))
    assert page.status_code in (200, 303)


# What is no request at all.


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
