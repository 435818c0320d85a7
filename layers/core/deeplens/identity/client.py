"""OAuth clients in the form that Authlib reads."""

import hmac
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin

from deeplens.access.api_keys import digest
from deeplens.access.scopes import API_SCOPES
from deeplens.identity.model import User

SECRET_METHODS = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):  # type: ignore[misc]
    """A registered client; without a secret it is public.

    Attributes
    ----------
    scopes : those that it may request; a request without scopes gets its API scopes.
    """

    id: str
    tenant_id: str | None
    name: str
    secret_sha256: bytes | None
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    needs_consent: bool = True

    @property
    def client_metadata(self) -> dict[str, Any]:
        return {"post_logout_redirect_uris": list(self.post_logout_redirect_uris)}

    def admits(self, user: User) -> bool:
        """Whether the client may sign in this user: a tenant's client signs in users of its own tenant only."""
        return self.tenant_id is None or self.tenant_id == user.tenant_id

    def get_client_id(self) -> str:
        return self.id

    def get_default_redirect_uri(self) -> None:
        """None: every request has to name its redirect URI."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The requested scopes, or the client's API scopes; None when a scope is not the client's."""
        requested = (scope or "").split() or [name for name in self.scopes if name in API_SCOPES]
        return " ".join(dict.fromkeys(requested)) if requested and set(requested) <= set(self.scopes) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret_sha256 is not None and hmac.compare_digest(self.secret_sha256, digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return method == "none" if self.secret_sha256 is None else method in SECRET_METHODS

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants
