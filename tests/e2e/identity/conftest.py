"""Create users and clients of the identity API, and a client that can send invalid requests."""

import base64
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from deeplens.access.api_keys import digest
from deeplens.access.scopes import READ, SCOPES
from deeplens.bootstrap.container import Container
from deeplens.identity.model import Client, User

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient
from tests.harness.browser import Browser, query_of

CALLBACK = "http://app.localhost:9/callback"
GOODBYE = "http://app.localhost:9/goodbye"
PASSWORD, SECRET = "correct horse battery", "client-secret-%:+ä"
_numbers = itertools.count(1)


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class App:
    """A relying party whose every parameter can be omitted (None) or changed."""

    issuer: str
    client: Client
    secret: str | None
    http: httpx.Client

    def request(self, **changed: str | None) -> str:
        """The address of an authorization request."""
        known: dict[str, str | None] = {
            "client_id": self.client.id,
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": f"openid profile offline_access {READ}",
            "state": "a state",
            "code_challenge": challenge_of("v" * 43),
            "code_challenge_method": "S256",
        }
        sent = {name: value for name, value in {**known, **changed}.items() if value is not None}
        return f"{self.issuer}/connect/authorize?{urlencode(sent)}"

    def redeem(self, issued: str, **changed: str | None) -> httpx.Response:
        form = {"code": issued, "redirect_uri": CALLBACK, "code_verifier": "v" * 43}
        return self.token("authorization_code", **{**form, **changed})

    def refresh(self, token: str, **changed: str | None) -> httpx.Response:
        return self.token("refresh_token", **{"refresh_token": token, **changed})

    def token(self, grant_type: str, **form: str | None) -> httpx.Response:
        return self.post("token", **{"grant_type": grant_type, **form})

    def post(self, endpoint: str, **form: str | None) -> httpx.Response:
        own = {"client_id": self.client.id, "client_secret": self.secret}
        sent = {name: value for name, value in {**own, **form}.items() if value is not None}
        return self.http.post(f"{self.issuer}/connect/{endpoint}", data=sent)

    def userinfo(self, token: str) -> httpx.Response:
        return self.http.get(f"{self.issuer}/connect/userinfo", headers={"Authorization": f"Bearer {token}"})


class World:
    """The identity API of the running stack, with methods that create users and clients."""

    def __init__(self, stack: Stack, parts: Container, tenant_id: str) -> None:
        self.issuer, self.api_url, self.parts, self.tenant_id = stack.identity_url, stack.api_url, parts, tenant_id
        self.http = httpx.Client(trust_env=False, timeout=30)

    def user(self, *roles: str, tenant_id: str | None = "") -> str:
        """The address of a new user, of the tenant unless another is given."""
        number = next(_numbers)
        owner = self.tenant_id if tenant_id == "" else tenant_id
        email = f"user{number}@example.test"
        self.parts.users.create(User(f"usr_{number}", owner, email, f"User {number}", roles or ("editor",)), PASSWORD)
        return email

    def app(self, secret: str | None = SECRET, **changed: Any) -> App:
        """A newly registered client."""
        client = Client(
            id=f"app-{next(_numbers)}",
            tenant_id=self.tenant_id,
            name="Photo shop",
            secret_sha256=digest(secret) if secret else None,
            redirect_uris=(CALLBACK,),
            post_logout_redirect_uris=(GOODBYE,),
            grants=("authorization_code", "refresh_token", "client_credentials"),
            scopes=SCOPES,
        )
        client = replace(client, **changed)
        self.parts.clients.save(client)
        return App(self.issuer, client, secret, self.http)

    def browser(self) -> Browser:
        return Browser(self.issuer)

    def code(self, app: App, email: str, browser: Browser | None = None, **changed: str | None) -> str:
        """A code for the app, granted by the user."""
        answer = query_of((browser or self.browser()).answer(app.request(**changed), email, PASSWORD))
        assert "code" in answer, answer
        return answer["code"]

    def tokens(self, app: App, email: str, **changed: str | None) -> dict[str, Any]:
        """What a whole code flow leads to."""
        answer = app.redeem(self.code(app, email, **changed))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def change_roles(self, email: str, *roles: str) -> None:
        statement = "UPDATE nextgen_identity.users SET roles = %s WHERE email = %s"
        with self.parts.connections.platform() as connection:
            connection.execute(statement, [list(roles), email])

    def age_sessions(self, email: str, seconds: int) -> None:
        """Let a user's password have been given longer ago."""
        statement = """
            UPDATE nextgen_identity.sessions SET authenticated_at = authenticated_at - make_interval(secs => %s)
            WHERE user_id = (SELECT id FROM nextgen_identity.users WHERE email = %s)
        """
        with self.parts.connections.platform() as connection:
            connection.execute(statement, [seconds, email])

    def search(self, token: str) -> httpx.Response:
        """Use a token at the search API."""
        return self.http.get(f"{self.api_url}/v1/images", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="session")
def world(stack: Stack, parts: Container, other: TenantClient) -> Iterator[World]:
    made = World(stack, parts, other.tenant.id)
    yield made
    made.http.close()


@pytest.fixture(scope="module")
def app(world: World) -> App:
    return world.app()


@pytest.fixture(scope="module")
def reader(world: World) -> str:
    """The address of a user whom no test changes."""
    return world.user("viewer")
