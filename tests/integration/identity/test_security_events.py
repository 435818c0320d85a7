"""What an attacker does leaves a line with a stable name, and a count that an alarm sees."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher
from deeplens.access.api_keys import digest
from deeplens.access.scopes import READ
from deeplens.bootstrap.container import Container
from deeplens.identity import passwords
from deeplens.identity.app import create_identity_app
from deeplens.identity.model import REUSE_WINDOW, Client, User
from deeplens.settings import Settings
from deeplens.telemetry import metrics
from deeplens.telemetry.emf import EmfExporter
from deeplens.telemetry.metrics import Meter
from deeplens.telemetry.security import SecurityEvent
from starlette.testclient import TestClient

from tests.fakes.stores import FakeSecrets
from tests.harness.browser import Browser, query_of

ISSUER, CALLBACK = "http://localhost:5198", "http://app.localhost:9/callback"
EMAIL, PASSWORD, CLIENT, SECRET = "watched@example.test", "correct horse battery", "watched-app", "client-secret"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
AUTHORIZE = (
    f"/connect/authorize?client_id={CLIENT}&response_type=code&redirect_uri={CALLBACK}"
    f"&scope=openid%20offline_access&code_challenge={CHALLENGE}&code_challenge_method=S256"
)


class World:
    """The Identity API in this process, and what it printed."""

    def __init__(self, platform_url: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        settings = Settings(database_url=platform_url, identity_url=ISSUER, DEEPLENS_ENVIRONMENT="local")
        self.parts, self._capsys, self._caplog = Container(settings), capsys, caplog
        self.parts.secret_store = FakeSecrets()
        self.http = TestClient(create_identity_app(self.parts), base_url=ISSUER, follow_redirects=False)

    def browser(self) -> Browser:
        browser = Browser(ISSUER)
        browser.http = TestClient(self.http.app, base_url=ISSUER, follow_redirects=False)
        return browser

    def token(self, **form: str) -> dict[str, Any]:
        known = {"client_id": CLIENT, "client_secret": SECRET}
        return dict(self.http.post("/connect/token", data={**known, **form}).json())

    def redeem(self, code: str) -> dict[str, Any]:
        return self.token(grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=VERIFIER)

    def events(self) -> list[dict[str, Any]]:
        """The security events since the last call; each was counted as well."""
        printed = [json.loads(line) for line in self._capsys.readouterr().out.splitlines() if line.startswith("{")]
        events = [vars(record) for record in self._caplog.records if record.getMessage() == "security event"]
        self._caplog.clear()
        counted: Counter[str] = Counter()
        for line in printed:
            counted[line.get("event", "")] += line.get("SecurityEvents", 0)
        assert +counted == Counter(names(events))
        assert not [secret for secret in (PASSWORD, SECRET, EMAIL) if secret in str(events)]
        return events


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["security_event"] for event in events]


@pytest.fixture
def world(
    platform_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobody.cache_clear()
    world = World(platform_url, capsys, caplog)
    with world.parts.connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.users WHERE email = %s", [EMAIL])
        connection.execute("DELETE FROM nextgen_identity.sign_in_attempts")
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    world.parts.users.create(User("usr_watched", None, EMAIL, "Ada", ("platform_admin",)), PASSWORD)
    grants, scopes = ("authorization_code", "refresh_token"), ("openid", "offline_access", READ)
    world.parts.clients.save(Client(CLIENT, None, "App", digest(SECRET), (CALLBACK,), (), grants, scopes))
    metrics.configure(Meter([EmfExporter("watched")], only_cloudwatch=True))
    yield world
    metrics.configure(None)
    with world.parts.connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.users WHERE email = %s", [EMAIL])
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    world.parts.connections.close()


def test_guesses_and_locks_are_logged_with_their_network_and_without_the_address(world: World) -> None:
    browser = world.browser()
    page = browser.open("/account/sign-in")
    world.events()
    for password in ["a guess"] * 6 + [PASSWORD]:
        browser.sign_in(page, EMAIL, password)
    events = world.events()
    assert names(events) == ["sign_in_failed"] * 5 + ["locked_out"] * 2
    assert {event["email_sha256"] for event in events} == {digest(EMAIL).hex()}
    assert {event["network_address"] for event in events} == {"testclient"}
    assert len({event["request_id"] for event in events}) == 7


def test_a_flow_and_the_replay_of_its_tokens_are_logged(world: World) -> None:
    code = query_of(world.browser().answer(AUTHORIZE, EMAIL, PASSWORD))["code"]
    tokens = world.redeem(code)
    signed_in, consent = world.events()
    assert (signed_in["security_event"], signed_in["user_id"]) == ("signed_in", "usr_watched")
    assert (consent["security_event"], consent["client_id"], consent["scopes"]) == (
        "consent_granted",
        CLIENT,
        ["openid", "offline_access"],
    )
    following = world.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    again = world.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert again["refresh_token"] == following["refresh_token"]
    assert world.events() == []
    with world.parts.connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.refresh_tokens SET spent_at = spent_at - %s", [REUSE_WINDOW])
    assert world.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])["error"] == "invalid_grant"
    replayed, revoked = world.events()
    assert names([replayed, revoked]) == ["refresh_token_replayed", "token_family_revoked"]
    assert {(event["user_id"], event["client_id"]) for event in (replayed, revoked)} == {("usr_watched", CLIENT)}
    assert replayed["family"] == revoked["family"]


def test_the_replay_of_a_code_is_logged_once(world: World) -> None:
    code = query_of(world.browser().answer(AUTHORIZE, EMAIL, PASSWORD))["code"]
    world.redeem(code)
    world.events()
    for _ in range(2):
        assert world.redeem(code)["error"] == "invalid_grant"
    assert names(world.events()) == ["code_replayed", "token_family_revoked"]


def test_a_client_with_a_wrong_secret_and_its_revocation_are_logged(world: World) -> None:
    tokens = world.redeem(query_of(world.browser().answer(AUTHORIZE, EMAIL, PASSWORD))["code"])
    world.events()
    assert world.token(grant_type="refresh_token", refresh_token="x", client_secret="wrong")["error"]
    assert names(world.events()) == ["client_rejected"]
    form = {"client_id": CLIENT, "client_secret": SECRET, "token": tokens["refresh_token"]}
    for _ in range(2):
        world.http.post("/connect/revocation", data=form)
    assert names(world.events()) == ["token_family_revoked"]


def test_every_name_is_explained_to_operators_and_alarms_name_none_that_does_not_exist(
    pytestconfig: pytest.Config,
) -> None:
    known = set(SecurityEvent.__value__.__args__)
    page = (pytestconfig.rootpath / "docs/observe.md").read_text()
    assert [name for name in known if f"`{name}`" not in page] == []
    template = (pytestconfig.rootpath / "template.yaml").read_text()
    alarmed = {*re.findall(r"event = '(\w+)'", template), *re.findall(r"Name: event, Value: (\w+)", template)}
    assert alarmed
    assert alarmed <= known
