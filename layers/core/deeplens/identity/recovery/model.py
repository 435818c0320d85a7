"""Mails that wait to be sent, invitations, and the changes that people are told of."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from deeplens.identity.model import Account, User

RESET_LIFE = timedelta(minutes=30)
"""How long the link of a password reset works, from when its mail is sent."""
INVITATION_LIFE = timedelta(days=7)
RESET_MAIL_LIFE = timedelta(hours=1)
"""How long the mail of a password reset is tried to be sent."""
NOTICE_LIFE = timedelta(days=3)
"""The same for a notice."""
EMAIL_LINK_LIFE = timedelta(hours=1)
"""How long the link that confirms a new address works, from when its mail is sent."""
EMAIL_MAIL_LIFE = timedelta(hours=1)
"""How long that mail is tried to be sent."""
FORMER_EMAIL_LIFE = timedelta(days=7)
"""How long the owner of a former address can bring it back."""
DEFAULT_LANGUAGE = "en"
"""Of mail to people whose language is not known."""
LONGEST_BACKOFF = timedelta(hours=1)
MAX_MAILS_PER_NETWORK = 20
"""Asked for from one network within ``ATTEMPT_WINDOW``, of each kind."""

type MailKind = Literal["password-reset", "invitation", "credential-change", "email-change", "email-changed"]
type CredentialChange = Literal[
    "password-changed",
    "password-reset",
    "password-set-by-administrator",
    "second-factor-added",
    "second-factor-removed",
    "recovery-codes-replaced",
    "passkey-added",
    "passkey-removed",
    "new-device",
    "code-used-again",
    "domain-missing",
    "domain-ended",
]


class Throttled(Exception):
    """Too many attempts: this one was not looked at."""


class LinkEnded(Exception):
    """The link of a mail was used, replaced or is too old, or never existed."""


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that waits to be sent. It is composed when it is sent, so that no link is stored.

    Attributes
    ----------
    user_id : the account that a notice or a new address is about; the mail disappears with it.
    invitation_id : of the mail of an invitation; the same.
    change : what a notice tells.
    due : when it is sent, or sent again.
    expires_at : when it is given up.
    """

    id: str
    kind: MailKind
    recipient: str
    language: str
    created_at: datetime
    due: datetime
    expires_at: datetime
    user_id: str | None = None
    invitation_id: str | None = None
    change: CredentialChange | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Invitation:
    """A person who may become a user of a tenant, or of the platform (None).

    Attributes
    ----------
    id : of the user that it leads to.
    language : of its mail.
    """

    id: str
    tenant_id: str | None
    email: str
    name: str
    roles: tuple[str, ...]
    language: str
    created_at: datetime
    expires_at: datetime

    @property
    def account(self) -> Account:
        """The invitation as administrators see it among the users."""
        return Account(self.id, self.tenant_id, self.email, self.name, self.roles, "invited", self.created_at)


@dataclass(frozen=True, slots=True)
class EmailChange:
    """A user with the present address, and the address that a link gives them."""

    user: User
    email: str


def backoff(attempts: int) -> timedelta:
    """The wait before a mail is sent again, after this many attempts."""
    return min(timedelta(minutes=2 ** min(attempts, 10)), LONGEST_BACKOFF)
