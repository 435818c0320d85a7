"""What signing in and signing tokens need of the world."""

from datetime import datetime
from typing import Protocol

from deeplens.auth.principal import Principal


class BearerTokens(Protocol):
    def authenticate(self, presented: str) -> Principal | None:
        """The principal of an access token of this platform; None for any that is not good here and now."""


class SecretStore(Protocol):
    """Secrets by name. Raises ``SecretStoreUnavailable``."""

    def get(self, name: str) -> str:
        """``SecretNotFound`` when there is none."""

    def put(self, name: str, value: str) -> None:
        """Store a new secret."""

    def delete(self, name: str) -> None:
        """Remove it for good; a missing one is fine."""


class SigningKeyRing(Protocol):
    def rotate(self) -> object:
        """Make the next signing key when it is due and forget those whose tokens are dead; safe to repeat."""


class TokenGrants(Protocol):
    def forget(self, before: datetime) -> None:
        """Remove codes, token families and sessions that ended before then."""
