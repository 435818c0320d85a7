"""What signing in and signing tokens need of the world."""

from typing import Protocol

from deeplens.access.principal import Principal


class BearerTokens(Protocol):
    def authenticate(self, presented: str) -> Principal | None:
        """The principal of an access token of this platform; None for any that is not good here and now."""


class ApiKeys(Protocol):
    def authenticate(self, presented: str) -> Principal | None:
        """The principal of an API key, or None; the key is compared by SHA-256, never stored."""
