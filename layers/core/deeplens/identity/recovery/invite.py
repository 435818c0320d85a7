"""Invite somebody by mail: there is no account until the owner of the address has accepted."""

from collections.abc import Sequence
from dataclasses import replace

from deeplens.access.api_keys import digest
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.identity.model import ATTEMPT_WINDOW, Account, AttemptCounter
from deeplens.identity.ports import SignInAttempts
from deeplens.identity.recovery.model import INVITATION_LIFE, Invitation, QueuedMail
from deeplens.identity.recovery.ports import Invitations

MAX_INVITATIONS = 100
"""Of one tenant within ``ATTEMPT_WINDOW``: mail goes to addresses that anybody may name."""
MAX_INVITATIONS_PER_ADDRESS = 3


class InviteUser:
    """Store an invitation with the mail that the schedule sends."""

    def __init__(self, invitations: Invitations, attempts: SignInAttempts, clock: Clock) -> None:
        self._invitations, self._attempts, self._clock = invitations, attempts, clock

    def __call__(self, owner: str | None, email: str, name: str, roles: Sequence[str], language: str) -> Account:
        """Invite an address to a tenant, or to the platform (None).

        The answer, and the work until then, are the same whether or not the address has an account elsewhere: if it
        has, the mail tells its owner alone. Raises ``ApiError``: 409 for an address of this owner, 429.
        """
        self._count(owner, email)
        now = self._clock.now()
        expiry = now + INVITATION_LIFE
        invitation = Invitation(new_id("usr", now), owner, email, name, tuple(roles), language, now, expiry)
        account = self._invitations.invite(invitation, self._mail_of(invitation))
        if account is None:
            detail = "A user with this address exists here, or is invited. Send the invitation again, or withdraw it."
            raise ApiError(409, "email-taken", "Address taken", detail)
        return account

    def again(self, owner: str | None, invitation_id: str) -> Account | None:
        """Send an invitation again, with a new link and a new time; None when it has ended. Raises ``ApiError`` 429."""
        found = self._invitations.find(owner, invitation_id)
        if found is None:
            return None
        self._count(owner, found.email)
        invitation = replace(found, expires_at=self._clock.now() + INVITATION_LIFE)
        return invitation.account if self._invitations.renew(invitation, self._mail_of(invitation)) else None

    def _count(self, owner: str | None, email: str) -> None:
        counters = [
            AttemptCounter(digest(f"invitation\0{owner}\0{email}"), MAX_INVITATIONS_PER_ADDRESS),
            AttemptCounter(digest(f"invitations\0{owner}"), MAX_INVITATIONS),
        ]
        if not self._attempts.count(counters, self._clock.now()):
            minutes = int(ATTEMPT_WINDOW.total_seconds()) // 60
            detail = (
                f"Within {minutes} minutes one address is invited {MAX_INVITATIONS_PER_ADDRESS} times at most, "
                f"and a tenant sends {MAX_INVITATIONS} invitations. Wait, and try again."
            )
            raise ApiError(
                429, "too-many-invitations", "Too many invitations", detail, {"Retry-After": f"{minutes * 60}"}
            )

    def _mail_of(self, invitation: Invitation) -> QueuedMail:
        now = self._clock.now()
        return QueuedMail(
            id=new_id("mail", now),
            kind="invitation",
            recipient=invitation.email,
            language=invitation.language,
            created_at=now,
            due=now,
            expires_at=invitation.expires_at,
            invitation_id=invitation.id,
        )
