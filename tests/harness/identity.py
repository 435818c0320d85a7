"""The Identity API in this process over a real database, browsers for it, and a client that gets tokens."""

import base64
import hashlib
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import uvicorn
from deeplens.access.api_keys import digest
from deeplens.access.scopes import SCOPES
from deeplens.bootstrap.container import Container
from deeplens.database.connections import Connections
from deeplens.identity.app import create_identity_app
from deeplens.identity.model import Client, User
from deeplens.settings import Settings
from starlette.testclient import TestClient

from tests.fakes.stores import FakeSecrets
from tests.harness.browser import Browser, query_of

ISSUER = "http://localhost:5198"
CALLBACK, SECRET = "https://app.example.test/callback", "a client's secret"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_numbers = itertools.count(1)


class InProcess(Browser):
    """A browser whose requests reach the application without a network."""

    def __init__(self, http: httpx.Client) -> None:
        self.issuer, self.http = str(http.base_url).rstrip("/"), http


class IdentityApi:
    """The application, and methods that create users and clients."""

    def __init__(self, connections: Connections, **settings: Any) -> None:
        self.container = Container(Settings(**{"identity_url": ISSUER, "DEEPLENS_ENVIRONMENT": "local"} | settings))
        self.issuer = self.container.issuer
        vars(self.container).update(connections=connections, secret_store=FakeSecrets())
        self.app = create_identity_app(self.container)

    def browser(self) -> InProcess:
        return InProcess(self.http())

    def http(self) -> TestClient:
        return TestClient(self.app, base_url=self.issuer, follow_redirects=False)

    def user(self, *roles: str, tenant_id: str | None = None) -> User:
        number = next(_numbers)
        email = f"person{number}@example.test"
        user = User(f"usr_person{number}", tenant_id, email, f"Person {number}", roles or ("platform_admin",))
        assert self.container.users.create(user, PASSWORD)
        return user

    def client(self, **changed: Any) -> Client:
        values: dict[str, Any] = {
            "id": f"app-{next(_numbers)}",
            "tenant_id": None,
            "name": "Photo shop",
            "secret_sha256": digest(SECRET),
            "redirect_uris": (CALLBACK,),
            "post_logout_redirect_uris": (),
            "grants": ("authorization_code", "refresh_token"),
            "scopes": SCOPES,
        }
        client = Client(**values | changed)
        self.container.clients.save(client)
        return client

    def request(self, client: Client, *more: tuple[str, str], **changed: str) -> str:
        """The path of an authorization request; ``more`` are parameters that may be repeated."""
        asked = {
            "client_id": client.id,
            "response_type": "code",
            "redirect_uri": client.redirect_uris[0],
            "scope": " ".join(SCOPES),
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"/connect/authorize?{urlencode([*(asked | changed).items(), *more])}"

    def granted(self, client: Client, user: User, *more: tuple[str, str], **changed: str) -> str:
        """The redirection to the client after the user signed in, in a new browser, and consented."""
        return self.browser().answer(self.request(client, *more, **changed), user.email, PASSWORD)

    def redeem(self, client: Client, location: str, *more: tuple[str, str], **changed: str) -> dict[str, Any]:
        """The tokens of the code in a redirection to the client."""
        return self.token(client, *more, **self.code_form(client, location) | changed)

    def code_form(self, client: Client, location: str) -> dict[str, str]:
        form = {"grant_type": "authorization_code", "code": query_of(location)["code"], "code_verifier": VERIFIER}
        return form | {"redirect_uri": client.redirect_uris[0]}

    def token(self, client: Client, *more: tuple[str, str], **form: str) -> dict[str, Any]:
        answer = self.ask_token(client, *more, **form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def token_error(self, client: Client, *more: tuple[str, str], **form: str) -> str:
        answer = self.ask_token(client, *more, **form)
        assert answer.status_code in (400, 401), answer.text
        return str(answer.json()["error"])

    def ask_token(self, client: Client, *more: tuple[str, str], **form: str) -> httpx.Response:
        """The answer to the client, which shows its secret if it has one."""
        credentials = {"client_id": client.id} | ({"client_secret": SECRET} if client.secret_sha256 else {})
        body = urlencode([*(credentials | form).items(), *more])
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.http().post("/connect/token", content=body, headers=headers)

    @staticmethod
    def claims(token: str) -> dict[str, Any]:
        return dict(jwt.decode(token, options={"verify_signature": False}))


@contextmanager
def served(connections: Connections) -> Iterator[IdentityApi]:
    """The application on a port of this machine, for real browsers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        identity = IdentityApi(connections, identity_url=f"http://localhost:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(identity.app, log_level="warning", access_log=False))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        yield identity
        server.should_exit = True
        thread.join()


@contextmanager
def fast_passwords() -> Iterator[None]:
    """Hash quickly: a test of sign-ins need not wait for Argon2."""
    from argon2 import PasswordHasher
    from deeplens.identity import passwords

    before = passwords._hasher
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    passwords._nobody.cache_clear()
    try:
        yield
    finally:
        passwords._hasher = before
        passwords._nobody.cache_clear()
