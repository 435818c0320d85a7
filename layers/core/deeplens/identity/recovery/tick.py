"""The job that sends the mails that wait."""

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.resolve import Lazy
from deeplens.errors import DependencyUnavailable
from deeplens.identity.recovery.model import QueuedMail, backoff
from deeplens.identity.recovery.ports import EmailChanges, Invitations, Outbox, PasswordResets
from deeplens.mail.ports import Mailer
from deeplens.telemetry.logs import logger

if TYPE_CHECKING:
    from deeplens.identity.recovery.compose import ComposeMail

LEASE = timedelta(minutes=5)
"""Longer than the function may run: a mail that is claimed and not sent by then is claimed again."""
SENDING_SECONDS = 20
"""The other jobs of the function need the rest of its time."""


class TickMail:
    """Send the mails that are due, and delete expired tokens, invitations and mails. Emits nothing.

    A mail is sent at least once: a crash between sending and removing it repeats it, with a new link. A mail that the
    service does not take is tried again until it expires; while the service takes none, all wait.
    """

    name: ClassVar = "mail"
    batch_size: ClassVar = 200

    def __init__(
        self,
        outbox: Outbox,
        resets: PasswordResets,
        invitations: Invitations,
        changes: EmailChanges,
        compose: Lazy["ComposeMail"],
        mailer: Lazy[Mailer],
        clock: Clock,
    ) -> None:
        self._outbox, self._forgetful = outbox, (resets, invitations, changes)
        self._compose, self._mailer, self._clock = compose, mailer, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        for links in self._forgetful:
            links.forget(now)
        for mail in self._outbox.give_up(now):
            logger().error("mail given up", mail_id=mail.id, kind=mail.kind, attempts=mail.attempts)
        for mail in self._outbox.claim(now, now + LEASE, self.batch_size):
            if self._clock.now() - now > timedelta(seconds=SENDING_SECONDS):
                self._outbox.postpone(mail.id, now)
            else:
                self._send(mail)
        return []

    def _send(self, queued: QueuedMail) -> None:
        try:
            if (mail := self._compose()(queued)) is not None:
                self._mailer().send(mail)
                logger().info("mail sent", mail_id=queued.id, kind=queued.kind)
        except DependencyUnavailable:
            self._outbox.postpone(queued.id, self._clock.now())
            raise
        except Exception:
            # A mail that cannot be composed or is not taken leaves the others alone.
            logger().exception("mail not sent", mail_id=queued.id, kind=queued.kind)
            self._outbox.postpone(queued.id, self._clock.now() + backoff(queued.attempts))
        else:
            self._outbox.remove(queued.id)
