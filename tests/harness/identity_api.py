"""The Identity API in this process over a real database, with methods that create users and clients."""

import base64
import hashlib
import itertools
from typing import Any
from urllib.parse import urlencode

from deeplens.access.api_keys import digest
from deeplens.access.scopes import READ, SCOPES
from deeplens.bootstrap.container import Container
from deeplens.identity.app import create_identity_app
from deeplens.identity.model import Client, User
from deeplens.settings import Settings
from starlette.testclient import TestClient

from tests.fakes.stores import FakeSecrets
from tests.harness.browser import Browser, query_of

ISSUER, CALLBACK = "http://localhost:5198", "http://app.localhost:9/callback"
PASSWORD, SECRET, VERIFIER = "correct horse battery", "client-secret", "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_numbers = itertools.count(1)


class IdentityApi:
    """One Identity API.

    Parameters
    ----------
    settings : beside those of the database and the issuer.
    """

    def __init__(self, platform_url: str, issuer: str = ISSUER, **settings: Any) -> None:
        known = {"database_url": platform_url, "identity_url": issuer, "DEEPLENS_ENVIRONMENT": "local"}
        self.issuer, self.parts = issuer, Container(Settings(**{**known, **settings}))
        self.parts.secret_store = FakeSecrets()
        self.app = create_identity_app(self.parts)
        self.http = TestClient(self.app, base_url=issuer, follow_redirects=False)

    def user(self, *roles: str, tenant_id: str | None = None) -> User:
        number = next(_numbers)
        roles = roles or (("editor",) if tenant_id else ("platform_admin",))
        user = User(f"usr_api{number}", tenant_id, f"api{number}@example.test", f"User {number}", roles)
        self.parts.users.create(user, PASSWORD)
        return user

    def client(self, **changed: Any) -> Client:
        """A registered client, by default confidential and with every grant."""
        known: dict[str, Any] = {
            "id": f"api-app-{next(_numbers)}",
            "tenant_id": None,
            "name": "Photo shop",
            "secret_sha256": digest(SECRET),
            "redirect_uris": (CALLBACK,),
            "post_logout_redirect_uris": (),
            "grants": ("authorization_code", "refresh_token", "client_credentials"),
            "scopes": SCOPES,
        }
        client = Client(**{**known, **changed})
        self.parts.clients.save(client)
        return client

    def browser(self) -> Browser:
        browser = Browser(self.issuer)
        browser.http = TestClient(self.app, base_url=self.issuer, follow_redirects=False)
        return browser

    def request(self, client: Client, *more: tuple[str, str], **changed: str) -> str:
        """The address of an authorization request."""
        known = {
            "client_id": client.id,
            "response_type": "code",
            "redirect_uri": client.redirect_uris[0],
            "scope": f"openid profile offline_access {READ}",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.issuer}/connect/authorize?{urlencode([*{**known, **changed}.items(), *more])}"

    def code(self, client: Client, user: User, *more: tuple[str, str], **changed: str) -> dict[str, str]:
        """The parameters with which the browser comes back to the client."""
        return query_of(self.browser().answer(self.request(client, *more, **changed), user.email, PASSWORD))

    def token(self, client: Client, grant_type: str, *more: tuple[str, str], **form: str) -> dict[str, Any]:
        """The answer to a client, which shows its secret if it has one."""
        known = {"client_id": client.id, "grant_type": grant_type}
        known |= {"client_secret": SECRET} if client.secret_sha256 else {}
        body = urlencode([*{**known, **form}.items(), *more])
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return dict(self.http.post("/connect/token", content=body, headers=headers).json())

    def redeem(self, client: Client, code: str, *more: tuple[str, str], **form: str) -> dict[str, Any]:
        known = {"code": code, "redirect_uri": client.redirect_uris[0], "code_verifier": VERIFIER}
        return self.token(client, "authorization_code", *more, **{**known, **form})

    def close(self) -> None:
        self.parts.connections.close()
