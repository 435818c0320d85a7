"""The port of sessions and applications.

``owner`` is the user's tenant, or None for the platform; a method never reaches another owner's users.
"""

from datetime import datetime
from typing import Protocol

from deeplens.identity.sessions.model import Application, OpenSession, Visit


class Sessions(Protocol):
    """Browsers' sessions, and the applications that have access for their users. Raises ``DatabaseUnavailable``."""

    def record(self, secret: str, visit: Visit, now: datetime) -> None:
        """Record that a browser used its session, which its cookie's secret names."""

    def of_user(self, owner: str | None, user_id: str, now: datetime) -> list[OpenSession] | None:
        """The open sessions, the newest first; None for no such user."""

    def end(self, owner: str | None, user_id: str, session_id: str, now: datetime) -> bool:
        """End a session, and revoke its codes and tokens. Returns False when there is none."""

    def end_all(self, owner: str | None, user_id: str, now: datetime, keep: str | None = None) -> bool:
        """End every session but ``keep``, and revoke all codes and tokens but its own. Returns False for no user."""

    def applications(self, owner: str | None, user_id: str, now: datetime) -> list[Application] | None:
        """By name; None for no such user."""

    def withdraw(self, owner: str | None, user_id: str, client_id: str, now: datetime) -> bool:
        """Delete a user's consent to a client, and revoke the client's codes and tokens. False when there are none."""
