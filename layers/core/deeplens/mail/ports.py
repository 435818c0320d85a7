"""A mail, and the port that sends it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one address, as plain text and as the same text in HTML."""

    recipient: str
    subject: str
    text: str
    html: str


class Mailer(Protocol):
    """Sends mail from the address of this deployment."""

    def send(self, mail: Mail) -> None:
        """Hand a mail over for delivery; a repetition sends it again.

        Raises
        ------
        MailRejected
            The service does not take this mail, for example because its address is not valid.
        MailUnavailable
            The service takes no mail at present.
        """
