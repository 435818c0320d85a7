"""The texts of mails, in the language of their readers.

A mail holds nothing that somebody typed but the name of an organisation, without the characters that make links.
"""

import html
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from deeplens.access.api_keys import digest
from deeplens.common.ports import Clock
from deeplens.identity.languages import Message
from deeplens.identity.model import Issuer
from deeplens.identity.ports import Users
from deeplens.identity.recovery.model import EMAIL_LINK_LIFE, RESET_LIFE, CredentialChange, MailKind, QueuedMail
from deeplens.identity.recovery.ports import EmailChanges, Invitations, PasswordResets
from deeplens.mail.ports import Mail

MAX_NAME_CHARS = 60
UNSAFE_IN_NAMES = re.compile(r"[^\w &()'’,+-]+")
CHANGES: Mapping[CredentialChange, Message] = {
    "password-changed": Message("The password of your account was changed."),
    "password-reset": Message("The password of your account was set anew by a link that we sent to this address."),
    "password-set-by-administrator": Message("An administrator gave your account a new password."),
    "second-factor-added": Message("A second factor was added to your account."),
    "second-factor-removed": Message("A second factor was removed from your account."),
    "recovery-codes-replaced": Message("Your account has new recovery codes; the old ones no longer work."),
    "passkey-added": Message("A passkey was added to your account."),
    "passkey-removed": Message("A passkey was removed from your account."),
    "new-device": Message("Your account was signed in to from a browser that was not used before."),
    "code-used-again": Message(
        "A code of your authenticator app was used a second time, and refused. If you entered it twice, do nothing."
    ),
}
DOMAINS: Mapping[CredentialChange, Message] = {
    "domain-missing": Message(
        "The TXT record that proves a domain of your identity provider was not found. Publish it again within seven "
        "days: after that, the provider signs in nobody of this domain."
    ),
    "domain-ended": Message(
        "The TXT record that proves a domain of your identity provider was missing for seven days. The provider signs "
        "in nobody of this domain until you verify it again."
    ),
}
SUBJECTS: Mapping[CredentialChange, Message] = {
    "new-device": Message("A sign-in with a new browser"),
    "code-used-again": Message("A code that was used twice"),
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail before it is put into a language.

    Attributes
    ----------
    link : of our own pages, on a line of its own at the end; None without one.
    """

    subject: Message
    paragraphs: Sequence[Message]
    link: str | None = None

    def to(self, recipient: str, language: str) -> Mail:
        lines = [paragraph.in_language(language) for paragraph in self.paragraphs]
        lines += [self.link] if self.link else []
        subject = self.subject.in_language(language)
        return Mail(recipient, subject, "\n\n".join(lines) + "\n", _html(language, subject, lines, self.link))


class ComposeMail:
    """Compose a waiting mail, with a new token if it has a link that works once."""

    def __init__(
        self,
        users: Users,
        resets: PasswordResets,
        invitations: Invitations,
        changes: EmailChanges,
        issuer: Issuer,
        clock: Clock,
    ) -> None:
        self._users, self._resets, self._invitations, self._changes = users, resets, invitations, changes
        self._issuer, self._clock = issuer, clock
        self._kinds: Mapping[MailKind, Callable[[QueuedMail], Letter | None]] = {
            "password-reset": self._password_reset,
            "invitation": self._invitation,
            "credential-change": self._credential_change,
            "email-change": self._email_change,
            "email-changed": self._email_changed,
        }

    def __call__(self, queued: QueuedMail) -> Mail | None:
        """The mail, or None when nobody is to get it: the address has no account, or the invitation has ended."""
        letter = self._kinds[queued.kind](queued)
        return letter.to(queued.recipient, queued.language) if letter else None

    def _password_reset(self, queued: QueuedMail) -> Letter | None:
        token = secrets.token_urlsafe(32)
        if self._resets.issue(queued.recipient, digest(token), self._clock.now() + RESET_LIFE) is None:
            return None
        minutes = {"minutes": int(RESET_LIFE.total_seconds()) // 60}
        return Letter(
            Message("Set a new password"),
            [
                Message("Somebody asked for a new password for your DeepLens account."),
                Message("If it was not you, ignore this mail: your password stays as it is."),
                Message(
                    "This link sets a new password. It works once, for %(minutes)s minutes, and until a later mail:",
                    minutes,
                ),
            ],
            self._link("/account/reset", token),
        )

    def _invitation(self, queued: QueuedMail) -> Letter | None:
        token, now = secrets.token_urlsafe(32), self._clock.now()
        invitation = self._invitations.issue(queued.invitation_id or "", digest(token), now)
        if invitation is None:
            return self._address_in_use(queued) if self._users.exist([queued.recipient]) else None
        until = {"time": _text_of(invitation.expires_at)}
        return Letter(
            Message("You are invited to DeepLens"),
            [
                self._invited_by(queued),
                Message("If you did not expect this, ignore this mail: there is no account without your consent."),
                Message("This link creates your account. It works once, until %(time)s:", until),
            ],
            self._link("/account/invitation", token),
        )

    def _invited_by(self, queued: QueuedMail) -> Message:
        name = readable_name(self._invitations.organisation(queued.invitation_id or ""))
        if not name:
            return Message("You are invited to administer DeepLens.")
        return Message("%(name)s invites you to DeepLens.", {"name": name})

    def _address_in_use(self, queued: QueuedMail) -> Letter:
        """Only the owner of the address learns that it has an account."""
        name = readable_name(self._invitations.organisation(queued.invitation_id or "")) or "DeepLens"
        return Letter(
            Message("An invitation for an address that has an account"),
            [
                Message("%(name)s invited this address to DeepLens, and it has an account already.", {"name": name}),
                Message("An address signs in to one account. To accept, ask for an invitation to another address."),
                Message("Nobody but you was told that the account exists."),
            ],
        )

    def _credential_change(self, queued: QueuedMail) -> Letter | None:
        if queued.change is None:
            return None
        if queued.change in DOMAINS:
            where = Message("The Admin API shows the record: /v1/admin/tenants/{tenant}/identity-provider.")
            return Letter(Message("A domain of your identity provider"), [DOMAINS[queued.change], where])
        return Letter(
            SUBJECTS.get(queued.change, Message("Your account was changed")),
            [
                CHANGES[queued.change],
                Message("Time: %(time)s.", {"time": _text_of(queued.created_at)}),
                Message("If it was not you, set a new password and tell your administrator:"),
            ],
            f"{self._issuer}/account/forgot",
        )

    def _email_change(self, queued: QueuedMail) -> Letter | None:
        token, now, email = secrets.token_urlsafe(32), self._clock.now(), queued.recipient
        if not self._changes.issue(queued.user_id or "", email, digest(token), now, now + EMAIL_LINK_LIFE):
            return self._new_address_in_use() if self._users.exist([email]) else None
        minutes = {"minutes": int(EMAIL_LINK_LIFE.total_seconds()) // 60}
        return Letter(
            Message("Confirm your new address"),
            [
                Message("A DeepLens account is to sign in with this address."),
                Message("If it is not yours, ignore this mail: nothing changes."),
                Message(
                    "This link leads to a page that confirms the address. It works once, for %(minutes)s minutes, and "
                    "until a later mail:",
                    minutes,
                ),
            ],
            self._link("/account/email/confirm", token),
        )

    @staticmethod
    def _new_address_in_use() -> Letter:
        """Only the owner of the address learns that it has an account."""
        return Letter(
            Message("A new address that has an account"),
            [
                Message("Another DeepLens account was to sign in with this address, and it has an account already."),
                Message("An address signs in to one account. If it was not you, there is nothing to do."),
                Message("Nobody but you was told that the account exists."),
            ],
        )

    def _email_changed(self, queued: QueuedMail) -> Letter | None:
        token = secrets.token_urlsafe(32)
        until = self._changes.issue_former(queued.user_id or "", queued.recipient, digest(token), self._clock.now())
        if until is None:
            return None
        return Letter(
            Message("Your account has another address"),
            [
                Message("Your DeepLens account no longer signs in with this address, but with another one."),
                Message("Time: %(time)s.", {"time": _text_of(queued.created_at)}),
                Message(
                    "If it was not you, tell your administrator, and bring this address back. That ends all sessions "
                    "and the password, and sends you a link to set a new one. It works until %(time)s:",
                    {"time": _text_of(until)},
                ),
            ],
            self._link("/account/email/undo", token),
        )

    def _link(self, path: str, token: str) -> str:
        """The address is the issuer's, whatever host a request named."""
        return f"{self._issuer}{path}?{urlencode({'token': token})}"


def readable_name(name: str | None) -> str:
    """A name without the characters that mail programs make links of, and not long enough for a message."""
    return UNSAFE_IN_NAMES.sub(" ", name or "").strip()[:MAX_NAME_CHARS]


def _text_of(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _html(language: str, subject: str, lines: Sequence[str], link: str | None) -> str:
    def paragraph(line: str) -> str:
        text = html.escape(line)
        return f'<p><a href="{text}">{text}</a></p>' if line == link else f"<p>{text}</p>"

    head = f'<html lang="{language}"><head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>'
    return f"<!doctype html>{head}<body>{''.join(map(paragraph, lines))}</body></html>"
