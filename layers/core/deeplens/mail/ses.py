"""``Mailer`` on Amazon SES, API version 2."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import MailRejected, MailUnavailable
from deeplens.mail.ports import Mail

REJECTED = {"BadRequestException", "MessageRejected"}
"""Error codes that are about one mail; all others are about the account, its limits or the service."""


class SesMailer:
    """Send mail with ``SendEmail``.

    Parameters
    ----------
    client : creates a client of ``sesv2`` when the first mail is sent.
    sender : the verified address that mail comes from.
    configuration_set : the configuration set of SES, or empty.
    """

    def __init__(self, client: Callable[[], Any], sender: str, configuration_set: str) -> None:
        self._client, self._sender = client, sender
        self._options = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def send(self, mail: Mail) -> None:
        if not self._sender:
            raise MailUnavailable("MAIL_SENDER is not set")
        text, html = ({"Data": body, "Charset": "UTF-8"} for body in (mail.text, mail.html))
        content = {"Subject": {"Data": mail.subject, "Charset": "UTF-8"}, "Body": {"Text": text, "Html": html}}
        try:
            self._client().send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [mail.recipient]},
                Content={"Simple": content},
                **self._options,
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise (MailRejected if code in REJECTED else MailUnavailable)(f"{code}: {error}"[:300]) from error
        except BotoCoreError as error:
            raise MailUnavailable(f"{type(error).__name__}: {error}"[:300]) from error
