"""``deeplens mail``: read the mails that the stack on this machine sent to people."""

from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Annotated, Any

import typer

from local.cli.commands import Commands
from local.cli.screen import fail, show, table
from local.stack.config import LocalConfig

app = Commands(help="Read the mails that this machine sent; none leaves it.")


@app.command("list", example="deeplens mail list ada@example.com")
def list_mails(address: Annotated[str, typer.Argument(help="Of one recipient; without it, all.")] = "") -> None:
    """List mails, the oldest first."""
    mails = list(sent_mails(LocalConfig().mailbox_dir, address))
    made = table("date", "to", "subject")
    for mail in mails:
        made.add_row(mail["date"], mail["to"], mail["subject"])
    show([{name: mail[name] for name in ("date", "to", "subject")} for mail in mails], made)


@app.command("show", example="deeplens mail show ada@example.com")
def show_mail(address: Annotated[str, typer.Argument(help="Of the recipient.")]) -> None:
    """Show the newest mail to an address."""
    mails = list(sent_mails(LocalConfig().mailbox_dir, address))
    if not mails:
        raise fail(f"no mail was sent to {address}; mail is sent once a minute")
    show(mails[-1], lambda: f"{mails[-1]['subject']}\n\n{mails[-1]['text']}")


def sent_mails(folder: Path, address: str = "") -> Iterator[dict[str, Any]]:
    """The mails in a mailbox, the oldest first, of one recipient if an address is given."""
    for path in sorted(folder.glob("*.eml")):
        message = message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=SMTP)
        if address.lower() in ("", str(message["To"]).lower()):
            yield {
                "date": str(message["Date"]),
                "to": str(message["To"]),
                "subject": str(message["Subject"]),
                "text": _content(message, "plain"),
                "html": _content(message, "html"),
            }


def _content(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return str(body.get_content()).replace("\r\n", "\n") if body else ""
