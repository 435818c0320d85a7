"""``Mailer`` on a folder, for one machine: nothing leaves it."""

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import MailRejected, MailUnavailable
from deeplens.mail.ports import Mail

SENDER = "DeepLens <no-reply@deeplens.local>"


class FolderMailbox:
    """Write each mail as a file ``.eml``, which any mail program opens; their names sort by time."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def send(self, mail: Mail) -> None:
        now = self._clock.now()
        message = EmailMessage(SMTP)
        message["Date"], message["From"] = formatdate(now.timestamp()), SENDER
        try:
            message["To"], message["Subject"] = mail.recipient, mail.subject
        except ValueError as error:
            raise MailRejected(str(error)) from error
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        target = self._folder / f"{new_id('mail', now)}.eml"
        draft = target.with_suffix(".tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_bytes(message.as_bytes())
            draft.replace(target)
        except OSError as error:
            raise MailUnavailable(str(error)) from error
