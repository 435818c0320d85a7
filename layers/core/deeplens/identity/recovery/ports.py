"""The ports of account recovery and invitations. Every method raises ``DatabaseUnavailable``.

Tokens are given as their SHA-256. ``owner`` is a tenant's id, or None for the platform.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from deeplens.identity.model import Account, User
from deeplens.identity.recovery.model import EmailChange, Invitation, QueuedMail


class Outbox(Protocol):
    """Mails that wait to be sent."""

    def add(self, mail: QueuedMail) -> None: ...

    def claim(self, now: datetime, until: datetime, limit: int) -> list[QueuedMail]:
        """Lease mails that are due, oldest first, until ``until``, and count an attempt."""

    def postpone(self, mail_id: str, due: datetime) -> None: ...

    def remove(self, mail_id: str) -> None: ...

    def give_up(self, now: datetime) -> Sequence[QueuedMail]:
        """Delete and return mails that have expired."""


class PasswordResets(Protocol):
    """One token per user, which sets a new password once; signing the user out ends it (``identity/sign_out.py``)."""

    def issue(self, email: str, token_sha256: bytes, expires_at: datetime) -> User | None:
        """Give the active user with this address a token that replaces an older one; None if there is none."""

    def find(self, token_sha256: bytes, now: datetime) -> User | None:
        """The active user of a token, if they still have the address that it was sent to."""

    def use_up(self, token_sha256: bytes, now: datetime) -> bool:
        """Delete a token. Returns False when it is not valid, or another request has used it."""

    def forget(self, now: datetime) -> None:
        """Delete tokens that have expired."""


class Invitations(Protocol):
    """People who were invited and have no account yet."""

    def invite(self, invitation: Invitation, mail: QueuedMail) -> Account | None:
        """Store an invitation and its mail together. None when its owner has a user or an invitation with this address.

        The answer does not depend on other owners' users. Raises ``TenantNotFound``, and ``ValueError`` for an unknown
        role.
        """

    def find(self, owner: str | None, invitation_id: str) -> Invitation | None: ...

    def organisation(self, invitation_id: str) -> str | None:
        """The name of the tenant that invited; None for the platform."""

    def renew(self, invitation: Invitation, mail: QueuedMail) -> bool:
        """Store a later expiry and a mail together. Returns False when the invitation is gone."""

    def withdraw(self, owner: str | None, invitation_id: str) -> bool: ...

    def issue(self, invitation_id: str, token_sha256: bytes, now: datetime) -> Invitation | None:
        """Give an invitation a token that replaces an older one; None if it ended or its address has an account."""

    def of_token(self, token_sha256: bytes, now: datetime) -> Invitation | None: ...

    def accept(self, token_sha256: bytes, name: str, password: str, now: datetime) -> User | None:
        """Use up an invitation and create its user. None when it has ended, or its address has an account by now.

        Raises ``WeakPassword``, and uses up nothing then.
        """

    def forget(self, now: datetime) -> None:
        """Delete invitations that have expired."""


class EmailChanges(Protocol):
    """New addresses that wait to be confirmed, one per user, and former ones that can come back.

    Signing a user out ends a change that waits (``identity/sign_out.py``), and no former address.
    """

    def request(self, user: User, mail: QueuedMail) -> None:
        """Store the recipient of a mail as a user's new address, and the mail with it; it replaces an earlier one."""

    def issue(self, user_id: str, email: str, token_sha256: bytes, now: datetime, expires_at: datetime) -> bool:
        """Give a waiting address a token. Returns False if the change has ended, or the address has an account."""

    def find(self, token_sha256: bytes, now: datetime) -> EmailChange | None:
        """The change that a token confirms, of an active user."""

    def confirm(self, token_sha256: bytes, notice: QueuedMail, now: datetime) -> EmailChange | None:
        """Use up a token, change the address, keep the former one, and queue the notice to it, together.

        Returns None when the change has ended, or the address has an account by now.
        """

    def issue_former(self, user_id: str, email: str, token_sha256: bytes, now: datetime) -> datetime | None:
        """Give a former address a token that brings it back; returns until when, or None if that time has passed."""

    def find_former(self, token_sha256: bytes, now: datetime) -> EmailChange | None: ...

    def undo(self, token_sha256: bytes, reset: QueuedMail, now: datetime) -> EmailChange | None:
        """Use up a token, bring the former address back, sign the user out, remove factors that were added since and
        the password, and queue the mail for a new one, together. Returns None when it is too late."""

    def forget(self, now: datetime) -> None:
        """Delete what has expired."""
