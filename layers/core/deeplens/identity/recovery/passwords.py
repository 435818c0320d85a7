"""New passwords: by a link that was sent to one's address, and by the present password."""

from deeplens.access.api_keys import digest
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.identity.model import AccountChange, AttemptCounter, Session, User
from deeplens.identity.passwords import accepted
from deeplens.identity.ports import SignInAttempts, Users
from deeplens.identity.recovery.model import MAX_MAILS_PER_NETWORK, RESET_MAIL_LIFE, LinkEnded, QueuedMail, Throttled
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.recovery.ports import Outbox, PasswordResets
from deeplens.identity.throttle import MAX_ATTEMPTS, counters_of, network_of
from deeplens.telemetry.security import security_event

MAX_RESETS_PER_ADDRESS = 3
"""Mails to one address within ``ATTEMPT_WINDOW``, whoever asks for them."""


class WrongPassword(Exception):
    """The present password is not right."""


class RequestPasswordReset:
    """Queue the mail of a password reset.

    Every address leads to the same answer and the same work: whether it has an account is found out when the schedule
    composes the mail.
    """

    def __init__(self, outbox: Outbox, attempts: SignInAttempts, clock: Clock) -> None:
        self._outbox, self._attempts, self._clock = outbox, attempts, clock

    def __call__(self, email: str, host: str, language: str) -> None:
        """Raises ``Throttled``, whether or not there is such an account; ``host`` is the network address."""
        email, now = email.strip().lower(), self._clock.now()
        counters = [
            AttemptCounter(digest(f"reset\0{email}"), MAX_RESETS_PER_ADDRESS),
            AttemptCounter(digest(f"resets of network\0{network_of(host)}"), MAX_MAILS_PER_NETWORK),
        ]
        heard = self._attempts.count(counters, now)
        security_event("password_reset_requested", email_sha256=digest(email).hex(), throttled=not heard)
        if not heard:
            raise Throttled
        self._outbox.add(
            QueuedMail(
                id=new_id("mail", now),
                kind="password-reset",
                recipient=email,
                language=language,
                created_at=now,
                due=now,
                expires_at=now + RESET_MAIL_LIFE,
            )
        )


class ResetPassword:
    """Set the password of the user whom a link was sent to, once; it signs nobody in."""

    def __init__(
        self,
        users: Users,
        resets: PasswordResets,
        attempts: SignInAttempts,
        notify: NotifyCredentialChange,
        clock: Clock,
    ) -> None:
        self._users, self._resets, self._attempts = users, resets, attempts
        self._notify, self._clock = notify, clock

    def user_of(self, token: str) -> User:
        """The user of a link, which stays valid. Raises ``LinkEnded``."""
        user = self._resets.find(digest(token), self._clock.now())
        if user is None:
            raise LinkEnded
        return user

    def __call__(self, token: str, password: str, host: str, language: str) -> None:
        """End all sessions and token families of the user. Raises ``LinkEnded``, and ``WeakPassword``, which uses up
        nothing."""
        user, now = self.user_of(token), self._clock.now()
        change = AccountChange(None, None, accepted(password), None)
        # Of two requests one uses the link up. A crash between here and the change needs a new link.
        if not self._resets.use_up(digest(token), now):
            raise LinkEnded
        if self._users.change(user.tenant_id, user.id, change, now) is None:
            raise LinkEnded
        self._attempts.forgive(counters_of(user.email, host, None))
        self._notify(user, "password-reset", language)


class ChangePassword:
    """Change one's own password, which ends all other sessions and their token families."""

    def __init__(self, users: Users, attempts: SignInAttempts, notify: NotifyCredentialChange, clock: Clock) -> None:
        self._users, self._attempts, self._notify, self._clock = users, attempts, notify, clock

    def __call__(self, session: Session, present: str, password: str, language: str) -> None:
        """Raises ``Throttled``, ``WrongPassword`` and ``WeakPassword``."""
        user, now = session.user, self._clock.now()
        # A session may be stolen: its thief must not guess the password here.
        counters = [AttemptCounter(digest(f"present password\0{user.id}"), MAX_ATTEMPTS)]
        if not self._attempts.count(counters, now):
            raise Throttled
        if self._users.sign_in(user.email, present) is None:
            raise WrongPassword
        self._attempts.forgive(counters)
        change = AccountChange(None, None, password, None)
        self._users.change(user.tenant_id, user.id, change, now, keep_session=session.id)
        self._notify(user, "password-changed", language)
