"""The port of clients' keys."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from deeplens.identity.client_keys.model import ClientKeys


class ClientKeyStore(Protocol):
    """Public keys of clients, and the assertions that they have used. Raises ``DatabaseUnavailable``."""

    def find(self, client_id: str) -> ClientKeys | None: ...

    def having_keys(self, client_ids: Iterable[str]) -> set[str]:
        """Those of the clients that authenticate with a key."""

    def save(self, keys: ClientKeys) -> None:
        """Replace the keys of a client, which exists."""

    def use(self, client_id: str, jti: str, now: datetime, expires_at: datetime) -> bool:
        """Use up an assertion. Returns False when it was used before."""
