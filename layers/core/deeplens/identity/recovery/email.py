"""A new address to sign in with: confirmed by a link to it, and undone by a link to the former one."""

from deeplens.access.api_keys import digest
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.identity.federation.model import domain_of
from deeplens.identity.federation.ports import IdentityProviders
from deeplens.identity.model import AttemptCounter, User
from deeplens.identity.ports import SignInAttempts
from deeplens.identity.recovery.model import (
    EMAIL_MAIL_LIFE,
    MAX_MAILS_PER_NETWORK,
    NOTICE_LIFE,
    RESET_MAIL_LIFE,
    EmailChange,
    LinkEnded,
    QueuedMail,
    Throttled,
)
from deeplens.identity.recovery.ports import EmailChanges
from deeplens.telemetry.security import security_event

MAX_CHANGES = 3
"""Mails for one account, and to one address, within ``ATTEMPT_WINDOW``."""


class ManagedDomain(Exception):
    """An organisation's identity provider manages the addresses of the domain."""


class RequestEmailChange:
    """Queue the mail that confirms a new address.

    Every address leads to the same answer and the same work: whether it has an account is found out when the schedule
    composes the mail, which then tells the owner of the address alone.
    """

    def __init__(
        self, changes: EmailChanges, providers: IdentityProviders, attempts: SignInAttempts, clock: Clock
    ) -> None:
        self._changes, self._providers, self._attempts, self._clock = changes, providers, attempts, clock

    def of_oneself(self, user: User, email: str, network: str, language: str) -> None:
        """Raises ``Throttled`` and ``ManagedDomain``; ``network`` is the one that the request came from.

        Somebody whose address an organisation manages must not leave its identity provider by another address.
        """
        if self._providers.of_domain(domain_of(user.email)) is not None:
            raise ManagedDomain
        self._request(user, email, language, f"email changes of network\0{network}")

    def of_user(self, user: User, email: str, language: str) -> None:
        """The same on behalf of an administrator."""
        self._request(user, email, language, f"email changes of owner\0{user.tenant_id}")

    def _request(self, user: User, email: str, language: str, origin: str) -> None:
        provider, now = self._providers.of_domain(domain_of(email)), self._clock.now()
        if provider is not None and provider.tenant_id != user.tenant_id:
            raise ManagedDomain
        counters = [
            AttemptCounter(digest(f"email change\0{user.id}"), MAX_CHANGES),
            AttemptCounter(digest(f"email change to\0{email}"), MAX_CHANGES),
            AttemptCounter(digest(origin), MAX_MAILS_PER_NETWORK),
        ]
        heard = self._attempts.count(counters, now)
        details = {"user_id": user.id, "tenant_id": user.tenant_id, "email_sha256": digest(email).hex()}
        security_event("email_change_requested", **details, throttled=not heard)
        if not heard:
            raise Throttled
        self._changes.request(
            user,
            QueuedMail(
                id=new_id("mail", now),
                kind="email-change",
                recipient=email,
                language=language,
                created_at=now,
                due=now,
                expires_at=now + EMAIL_MAIL_LIFE,
                user_id=user.id,
            ),
        )


class ChangeEmail:
    """What the links of mails do: confirm a new address, and bring a former one back."""

    def __init__(self, changes: EmailChanges, clock: Clock) -> None:
        self._changes, self._clock = changes, clock

    def of_link(self, token: str) -> EmailChange:
        """The change that a link confirms; it stays valid. Raises ``LinkEnded``."""
        return _required(self._changes.find(digest(token), self._clock.now()))

    def confirm(self, token: str, language: str) -> EmailChange:
        """Change the address, once, and tell the former one. Raises ``LinkEnded``, also for an address that has an
        account by now."""
        now = self._clock.now()
        change = self.of_link(token)
        notice = QueuedMail(
            id=new_id("mail", now),
            kind="email-changed",
            recipient=change.user.email,
            language=language,
            created_at=now,
            due=now,
            expires_at=now + NOTICE_LIFE,
            user_id=change.user.id,
        )
        return _recorded(self._changes.confirm(digest(token), notice, now), "email-changed")

    def of_undo_link(self, token: str) -> EmailChange:
        """The change that a link brings back. Raises ``LinkEnded``."""
        return _required(self._changes.find_former(digest(token), self._clock.now()))

    def undo(self, token: str, language: str) -> EmailChange:
        """Bring the former address back, end all sessions, factors since the change, and the password, and send a link
        for a new one. Raises ``LinkEnded``."""
        now = self._clock.now()
        former = self.of_undo_link(token)
        reset = QueuedMail(
            id=new_id("mail", now),
            kind="password-reset",
            recipient=former.email,
            language=language,
            created_at=now,
            due=now,
            expires_at=now + RESET_MAIL_LIFE,
        )
        return _recorded(self._changes.undo(digest(token), reset, now), "email-restored")


def _required(change: EmailChange | None) -> EmailChange:
    if change is None:
        raise LinkEnded
    return change


def _recorded(change: EmailChange | None, kind: str) -> EmailChange:
    user = _required(change).user
    security_event("credential_changed", user_id=user.id, tenant_id=user.tenant_id, change=kind)
    return _required(change)
