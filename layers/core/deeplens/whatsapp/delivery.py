"""Sending to chats: what an answer of the Graph API means, and when a reply is tried again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 3 * 60, 6 * 60, 12 * 60))
"""After each failure; for longer WhatsApp lets no business write to who has not written meanwhile."""
FIRST_LOOK, LONGEST_LOOK = timedelta(minutes=1), timedelta(hours=6)
"""When a check for an image's end is due although no notification came."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a try: sent if there is no error. ``passing`` errors may go away by themselves."""

    error: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows for the reply; ``next_at`` is when it is tried again, None when it has ended."""

    state: Literal["waiting", "sent", "failed"]
    next_at: datetime | None = None
    error: str | None = None


def judge(attempts: int, sent: Sent, now: datetime) -> Verdict:
    """What follows from the ``attempts``-th try."""
    if sent.error is None:
        return Verdict("sent")
    if not sent.passing or attempts > len(RETRIES):
        return Verdict("failed", error=sent.error)
    return Verdict("waiting", now + RETRIES[attempts - 1], sent.error)


def next_look(created_at: datetime, now: datetime) -> datetime:
    """When to look again at an image that has not ended: after as long as it has been waited for."""
    return now + min(max(now - created_at, FIRST_LOOK), LONGEST_LOOK)


class WhatsApp(Protocol):
    """The Cloud API, as far as chats need it. No call follows a redirect or leaves for somewhere inside."""

    def fetch(self, media_id: str, max_bytes: int) -> bytes:
        """A file that somebody sent.

        Raises
        ------
        MediaExpired
            It is no longer there; sending it again helps, trying again does not.
        FileTooLarge
        WhatsAppUnavailable
            No answer, a busy one, or credentials that are not accepted.
        """

    def send(self, phone_number_id: str, chat_jid: str, text: str, reply_to: str) -> Sent:
        """Write to a chat, quoting the message ``reply_to``. Never raises for what the other end does."""
