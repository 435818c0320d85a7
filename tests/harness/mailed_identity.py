"""The Identity API and the Admin API in this process, and the mails that they lead to."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from deeplens.access.scopes import API_SCOPES
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.database.connections import Connections
from deeplens.identity.recovery.tick import TickMail
from deeplens.mail.ports import Mail
from starlette.testclient import TestClient

from tests.harness.applications import application
from tests.harness.identity import IdentityApi, InProcess, fast_passwords

LINK = re.compile(r"^\S+://\S+\?token=\S+$", re.M)


class RecordingMailer:
    def __init__(self) -> None:
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        self.sent.append(mail)


class MailedIdentity(IdentityApi):
    """Both applications, and methods that read the mail."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.connections, self.mailer = connections, RecordingMailer()
        vars(self.container)["mailer"] = self.mailer
        self.admin_app = application(create_admin_app, self.container)

    def admin(self, tenant_id: str | None, *scopes: str) -> TestClient:
        key = self.container.api_keys.create(tenant_id, "administrator", scopes or API_SCOPES)
        return TestClient(self.admin_app, base_url="http://localhost", headers={"X-API-Key": key})

    def mails(self) -> list[Mail]:
        self.mailer.sent = []
        self.container.build(TickMail)()
        return self.mailer.sent

    def link(self) -> str:
        """The link of the only mail."""
        (link,) = (link for mail in self.mails() for link in LINK.findall(mail.text))
        return str(link)

    def forget(self, browser: InProcess, email: str, **headers: str) -> httpx.Response:
        """Ask for a link on the page."""
        page = browser.open("/account/forgot")
        browser.http.headers.update(headers)
        return browser.submit(page, email=email)

    def signs_in(self, email: str, password: str) -> bool:
        browser = self.browser()
        return browser.sign_in(browser.open("/account/sign-in"), email, password).status_code == 200

    def count(self, table: str, user_id: str, condition: str = "true") -> int:
        statement = f"SELECT count(*) AS n FROM nextgen_identity.{table} WHERE user_id = %s AND {condition}"
        with self.connections.platform() as connection:
            row = connection.execute(statement.encode(), [user_id]).fetchone()
        assert row is not None
        return int(row["n"])


@contextmanager
def mailed_identity(connections: Connections) -> Iterator[MailedIdentity]:
    """Without mails and attempts of other tests."""
    tables = ("outgoing_mail", "password_resets", "email_changes", "former_emails", "invitations", "sign_in_attempts")
    with connections.platform() as connection:
        for table in tables:
            connection.execute(f"DELETE FROM nextgen_identity.{table}".encode())
    with fast_passwords():
        yield MailedIdentity(connections)
