"""Ports of the identity API."""

from datetime import datetime
from typing import Protocol


class SigningKeyRing(Protocol):
    def rotate(self) -> object:
        """Make the next signing key when it is due and forget those whose tokens are dead; safe to repeat."""


class TokenGrants(Protocol):
    def forget(self, before: datetime) -> None:
        """Remove codes, token families and sessions that ended before then."""
