"""Tell people by mail that one of their credentials changed."""

from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.identity.model import User
from deeplens.identity.recovery.model import NOTICE_LIFE, CredentialChange, QueuedMail
from deeplens.identity.recovery.ports import Outbox
from deeplens.telemetry.security import security_event

NO_CHANGES: tuple[CredentialChange, ...] = ("new-device", "code-used-again", "domain-missing", "domain-ended")
"""What people are told of although no credential changed; the sign-in has an event of its own."""


class NotifyCredentialChange:
    """Queue a notice to a user, and record the change as a security event; the schedule sends the notice."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock

    def __call__(self, user: User, change: CredentialChange, language: str) -> None:
        """Call it after the change.

        Parameters
        ----------
        language : of the notice: ``Browser.language`` of the request.
        """
        now = self._clock.now()
        if change not in NO_CHANGES:
            security_event("credential_changed", user_id=user.id, tenant_id=user.tenant_id, change=change)
        self._outbox.add(
            QueuedMail(
                id=new_id("mail", now),
                kind="credential-change",
                recipient=user.email,
                language=language,
                created_at=now,
                due=now,
                expires_at=now + NOTICE_LIFE,
                user_id=user.id,
                change=change,
            )
        )
