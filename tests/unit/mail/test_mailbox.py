"""The mailbox of one machine, and the command that reads it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deeplens.errors import MailRejected, MailUnavailable
from deeplens.mail.mailbox import FolderMailbox
from deeplens.mail.ports import Mail

from tests.harness.cli import deeplens


class Ticking:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def mail(number: int, recipient: str = "ada@example.test") -> Mail:
    return Mail(recipient, f"Größe {number}", f"Zeile ä {number}\n\n{'x' * 200}\n", f"<p>{number}</p>")


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderMailbox:
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path))
    return FolderMailbox(tmp_path / "mail", Ticking())


def test_the_newest_mail_to_an_address_is_shown(mailbox: FolderMailbox) -> None:
    for number in (1, 2):
        mailbox.send(mail(number))
    mailbox.send(mail(3, "bob@example.test"))
    shown = json.loads(deeplens("mail", "show", "ADA@example.test", "--json").output)
    assert (shown["to"], shown["subject"], shown["text"]) == ("ada@example.test", "Größe 2", mail(2).text)
    assert shown["html"].strip() == "<p>2</p>"
    assert mail(2).text in deeplens("mail", "show", "ada@example.test").output


def test_mails_are_listed_in_their_order(mailbox: FolderMailbox) -> None:
    assert json.loads(deeplens("mail", "list", "--json").output) == []
    for number, recipient in enumerate(("ada@example.test", "bob@example.test", "ada@example.test")):
        mailbox.send(mail(number, recipient))
    listed = json.loads(deeplens("mail", "list", "--json").output)
    assert [entry["subject"] for entry in listed] == ["Größe 0", "Größe 1", "Größe 2"]
    of_one = deeplens("mail", "list", "bob@example.test").output
    assert "Größe 1" in of_one
    assert "Größe 0" not in of_one


def test_an_address_without_mail_is_an_error(mailbox: FolderMailbox) -> None:
    ended = deeplens("mail", "show", "nobody@example.test")
    assert (ended.exit_code, "no mail was sent to nobody@example.test" in ended.output) == (1, True)


@pytest.mark.parametrize("recipient", ["ada@example.test\nBcc: all@example.test", "a@b\r\n\r\nbody"])
def test_an_address_adds_no_header(mailbox: FolderMailbox, recipient: str) -> None:
    with pytest.raises(MailRejected):
        mailbox.send(mail(1, recipient))
    assert json.loads(deeplens("mail", "list", "--json").output) == []


def test_a_folder_that_cannot_be_written_keeps_the_mail(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file")
    with pytest.raises(MailUnavailable):
        FolderMailbox(tmp_path / "mail", Ticking()).send(mail(1))
