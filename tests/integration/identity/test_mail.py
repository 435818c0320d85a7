"""Mails wait in the database until the schedule has sent them: each at least once, and none before its time."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from deeplens.access.api_keys import digest
from deeplens.database.connections import Connections
from deeplens.errors import ApiError, MailRejected, MailUnavailable
from deeplens.identity import passwords
from deeplens.identity.model import ATTEMPT_WINDOW, AccountChange, Issuer, User
from deeplens.identity.postgres_attempts import PostgresSignInAttempts
from deeplens.identity.postgres_people import PostgresUsers
from deeplens.identity.recovery.compose import ComposeMail
from deeplens.identity.recovery.invite import MAX_INVITATIONS_PER_ADDRESS, InviteUser
from deeplens.identity.recovery.model import INVITATION_LIFE, RESET_LIFE, LinkEnded, Throttled
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.recovery.passwords import RequestPasswordReset, ResetPassword
from deeplens.identity.recovery.postgres import PostgresInvitations, PostgresOutbox, PostgresPasswordResets
from deeplens.identity.recovery.postgres_email import PostgresEmailChanges
from deeplens.identity.recovery.tick import TickMail
from deeplens.mail.ports import Mail

from tests.integration.conftest import NewTenant

ISSUER = Issuer("https://id.example.test")
PASSWORD, NEW_PASSWORD = "correct horse battery", "violet lantern harbour"
HERE = "203.0.113.7"
SECOND = timedelta(seconds=1)
LINK = re.compile(r"https://id\.example\.test/account/\w+\?token=([\w-]{43})(?![\w-])")
_numbers = itertools.count(1)


class RecordingMailer:
    """Keeps mails, or answers with an error."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.error: Exception | None = None
        self.rejected = ""

    def send(self, mail: Mail) -> None:
        if self.error:
            raise self.error
        if mail.recipient == self.rejected:
            raise MailRejected("no such domain")
        self.sent.append(mail)


class World:
    """The use cases on PostgreSQL, at a time that tests set."""

    def __init__(self, connections: Connections) -> None:
        self.time = datetime(2026, 1, 1, 10, tzinfo=UTC)
        self.connections, self.mailer = connections, RecordingMailer()
        self.users, self.attempts = PostgresUsers(connections), PostgresSignInAttempts(connections)
        self.outbox, self.resets = PostgresOutbox(connections), PostgresPasswordResets(connections)
        self.invitations = PostgresInvitations(connections)
        self.notify = NotifyCredentialChange(self.outbox, self)
        self.ask = RequestPasswordReset(self.outbox, self.attempts, self)
        self.reset = ResetPassword(self.users, self.resets, self.attempts, self.notify, self)
        self.invite = InviteUser(self.invitations, self.attempts, self)
        links = (self.resets, self.invitations, PostgresEmailChanges(connections))
        compose = ComposeMail(self.users, *links, ISSUER, self)
        self.tick = TickMail(self.outbox, *links, lambda: compose, lambda: self.mailer, self)

    def now(self) -> datetime:
        return self.time

    def user(self, tenant_id: str | None = None) -> User:
        number = next(_numbers)
        user = User(f"usr_mailed{number}", tenant_id, f"mailed{number}@example.test", "Somebody", ("viewer",))
        self.users.create(user, PASSWORD)
        return user

    def address(self) -> str:
        """One that nobody has."""
        return f"free{next(_numbers)}@example.test"

    def mails(self) -> list[Mail]:
        """The mails that the next run sends."""
        self.mailer.sent = []
        self.tick()
        return self.mailer.sent

    def token(self) -> str:
        """The token of the only mail that the next run sends."""
        (mail,) = self.mails()
        (token,) = set(LINK.findall(mail.text)) & set(LINK.findall(mail.html))
        return str(token)

    def waiting(self) -> int:
        with self.connections.platform() as connection:
            row = connection.execute("SELECT count(*) AS n FROM nextgen_identity.outgoing_mail").fetchone()
        assert row is not None
        return int(row["n"])


@pytest.fixture
def world(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobody.cache_clear()
    with connections.platform() as connection:
        for table in ("outgoing_mail", "password_resets", "invitations", "sign_in_attempts"):
            connection.execute(f"DELETE FROM nextgen_identity.{table}".encode())
    return World(connections)


def test_a_reset_is_mailed_to_an_account_and_to_nobody_else(world: World) -> None:
    user = world.user()
    world.ask(f" {user.email.upper()} ", HERE, "en")
    world.ask("nobody@example.test", HERE, "en")
    assert world.waiting() == 2
    (mail,) = world.mails()
    assert (mail.recipient, mail.subject) == (user.email, "Set a new password")
    assert world.waiting() == 0
    assert world.mails() == []


def test_a_mail_is_in_the_language_of_its_reader(world: World) -> None:
    user = world.user()
    world.ask(user.email, HERE, "de")
    (mail,) = world.mails()
    assert mail.subject == "Neues Passwort setzen"
    assert '<html lang="de">' in mail.html


def test_no_token_is_stored_in_clear(world: World) -> None:
    world.ask(world.user().email, HERE, "en")
    token = world.token()
    with world.connections.platform() as connection:
        rows = connection.execute("SELECT * FROM nextgen_identity.password_resets").fetchall()
    assert [row["token_sha256"] for row in rows] == [digest(token)]
    assert token not in str(rows)


def test_a_link_works_once(world: World) -> None:
    user = world.user()
    world.ask(user.email, HERE, "en")
    token = world.token()
    world.reset(token, NEW_PASSWORD, HERE, "en")
    assert world.users.sign_in(user.email, NEW_PASSWORD) == user
    with pytest.raises(LinkEnded):
        world.reset(token, "another long sentence", HERE, "en")
    assert [mail.subject for mail in world.mails()] == ["Your account was changed"]


def test_only_the_newest_link_works_and_of_its_own_user(world: World) -> None:
    user, other = world.user(), world.user()
    tokens = []
    for _ in range(2):
        world.ask(user.email, HERE, "en")
        tokens.append(world.token())
    with pytest.raises(LinkEnded):
        world.reset(tokens[0], NEW_PASSWORD, HERE, "en")
    world.reset(tokens[1], NEW_PASSWORD, HERE, "en")
    assert world.users.sign_in(user.email, NEW_PASSWORD) == user
    assert world.users.sign_in(other.email, PASSWORD) == other


def test_a_link_ends_with_its_time_and_with_its_account(world: World) -> None:
    user = world.user()
    world.ask(user.email, HERE, "en")
    token = world.token()
    world.time += RESET_LIFE - SECOND
    assert world.reset.user_of(token) == user
    with world.connections.platform() as connection:
        statement = "UPDATE nextgen_identity.users SET {} WHERE id = %s"
        for change, back in (
            ("status = 'disabled'", "status = 'active'"),
            ("email = 'x@y'", f"email = '{user.email}'"),
        ):
            connection.execute(statement.format(change).encode(), [user.id])
            with pytest.raises(LinkEnded):
                world.reset(token, NEW_PASSWORD, HERE, "en")
            connection.execute(statement.format(back).encode(), [user.id])
    world.time += SECOND
    with pytest.raises(LinkEnded):
        world.reset(token, NEW_PASSWORD, HERE, "en")


def test_a_weak_password_uses_up_nothing(world: World) -> None:
    user = world.user()
    world.ask(user.email, HERE, "en")
    token = world.token()
    with pytest.raises(passwords.WeakPassword):
        world.reset(token, "password1234", HERE, "en")
    world.reset(token, NEW_PASSWORD, HERE, "en")
    assert world.users.sign_in(user.email, NEW_PASSWORD) == user


@pytest.mark.parametrize("exists", [True, False])
def test_requests_are_throttled_by_address_and_network_whether_or_not_there_is_an_account(
    world: World, exists: bool
) -> None:
    email = world.user().email if exists else "nobody@example.test"
    for number in range(3):
        world.ask(email, f"198.51.100.{number}", "en")
    with pytest.raises(Throttled):
        world.ask(email, HERE, "en")
    for number in range(20):
        world.ask(f"somebody{number}@example.test", HERE, "en")
    with pytest.raises(Throttled):
        world.ask("another@example.test", HERE, "en")
    world.time += ATTEMPT_WINDOW
    world.ask(email, HERE, "en")


def test_a_mail_waits_while_the_service_is_away_and_is_sent_afterwards(world: World) -> None:
    user = world.user()
    world.notify(user, "passkey-added", "en")
    world.mailer.error = MailUnavailable("away")
    with pytest.raises(MailUnavailable):
        world.tick()
    world.mailer.error = None
    (mail,) = world.mails()
    assert (mail.recipient, "passkey was added" in mail.text, f"{ISSUER}/account/forgot" in mail.text) == (
        user.email,
        True,
        True,
    )


def test_a_mail_that_is_not_taken_leaves_others_alone_and_is_given_up_in_time(world: World) -> None:
    bad, good = world.user(), world.user()
    world.notify(bad, "new-device", "en")
    world.notify(good, "new-device", "en")
    world.mailer.rejected = bad.email
    assert [mail.recipient for mail in world.mails()] == [good.email]
    assert (world.mails(), world.waiting()) == ([], 1)
    world.mailer.rejected = ""
    world.time += timedelta(minutes=3)
    assert [mail.recipient for mail in world.mails()] == [bad.email]
    world.mailer.error = MailRejected("no")
    world.notify(bad, "new-device", "en")
    world.time += timedelta(days=4)
    assert (world.mails(), world.waiting()) == ([], 0)


def test_two_runs_at_once_send_a_mail_once(world: World) -> None:
    world.notify(world.user(), "new-device", "en")
    assert len(world.outbox.claim(world.time, world.time + timedelta(minutes=5), 10)) == 1
    assert world.mails() == []
    world.time += timedelta(minutes=5)
    assert len(world.mails()) == 1


def test_an_invitation_of_an_address_with_an_account_elsewhere_looks_the_same(
    world: World, new_tenant: NewTenant
) -> None:
    tenant, other = new_tenant(), new_tenant()
    stranger = world.user(other.id)
    taken = world.invite(tenant.id, stranger.email, "Ada", ["viewer"], "en")
    free = world.invite(tenant.id, "free@example.test", "Ada", ["viewer"], "en")
    assert {taken.status, free.status} == {"invited"}
    assert (taken.roles, taken.created_at, taken.tenant_id) == (free.roles, free.created_at, free.tenant_id)
    listed = world.users.of_owner(tenant.id, "", 10)
    assert {(account.email, account.status) for account in listed} == {
        (stranger.email, "invited"),
        ("free@example.test", "invited"),
    }
    subjects = {mail.recipient: mail for mail in world.mails()}
    assert subjects["free@example.test"].subject == "You are invited to DeepLens"
    to_stranger = subjects[stranger.email]
    assert to_stranger.subject == "An invitation for an address that has an account"
    assert not LINK.findall(to_stranger.text)
    assert world.users.sign_in(stranger.email, PASSWORD) == stranger


def test_an_address_of_the_same_owner_is_refused(world: World, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    user = world.user(tenant.id)
    world.invite(tenant.id, "free@example.test", "Ada", ["viewer"], "en")
    for email in (user.email, "free@example.test"):
        with pytest.raises(ApiError) as refused:
            world.invite(tenant.id, email, "Ada", ["viewer"], "en")
        assert (refused.value.status, refused.value.code) == (409, "email-taken")
    assert len(world.mails()) == 1


def test_whoever_accepts_an_invitation_has_an_account(world: World, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    invited = world.invite(tenant.id, world.address(), "Ada", ["editor"], "en")
    token = world.token()
    assert world.users.sign_in(invited.email, PASSWORD) is None
    with pytest.raises(passwords.WeakPassword):
        world.invitations.accept(digest(token), "Ada Lovelace", "password", world.time)
    user = world.invitations.accept(digest(token), "Ada Lovelace", PASSWORD, world.time)
    assert user == User(invited.id, tenant.id, invited.email, "Ada Lovelace", ("editor",))
    assert world.users.sign_in(invited.email, PASSWORD) == user
    assert world.invitations.accept(digest(token), "Mallory", NEW_PASSWORD, world.time) is None
    assert [account.status for account in world.users.of_owner(tenant.id, "", 10)] == ["active"]


def test_an_invitation_is_sent_again_withdrawn_and_forgotten(world: World, new_tenant: NewTenant) -> None:
    tenant, other = new_tenant(), new_tenant()
    invited = world.invite(tenant.id, world.address(), "Ada", ["editor"], "en")
    first = world.token()
    assert world.invite.again(other.id, invited.id) is None
    assert not world.invitations.withdraw(other.id, invited.id)
    world.time += INVITATION_LIFE - SECOND
    assert world.invite.again(tenant.id, invited.id) is not None
    second = world.token()
    assert world.invitations.of_token(digest(first), world.time) is None
    world.time += SECOND
    assert world.invitations.of_token(digest(second), world.time) is not None
    assert world.invitations.withdraw(tenant.id, invited.id)
    assert world.invitations.accept(digest(second), "Ada", PASSWORD, world.time) is None
    world.invite(tenant.id, "late@example.test", "Ada", ["editor"], "en")
    world.time += INVITATION_LIFE
    assert world.mails() == []
    assert world.users.of_owner(tenant.id, "", 10) == []


def test_two_tenants_that_invite_one_address_make_one_account(world: World, new_tenant: NewTenant) -> None:
    tokens, both = {}, world.address()
    for tenant in (new_tenant(), new_tenant()):
        world.invite(tenant.id, both, "Ada", ["viewer"], "en")
        tokens[tenant.id] = digest(world.token())
    first, second = tokens
    assert world.invitations.accept(tokens[first], "Ada", PASSWORD, world.time) is not None
    assert world.invitations.accept(tokens[second], "Ada", NEW_PASSWORD, world.time) is None
    assert world.users.sign_in(both, NEW_PASSWORD) is None


def test_one_address_is_not_flooded_with_invitations(world: World, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    invited = world.invite(tenant.id, world.address(), "Ada", ["editor"], "en")
    for _ in range(MAX_INVITATIONS_PER_ADDRESS - 1):
        world.invite.again(tenant.id, invited.id)
    with pytest.raises(ApiError) as refused:
        world.invite.again(tenant.id, invited.id)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "900"})


def test_the_name_of_an_organisation_makes_no_link_in_a_mail(world: World, new_tenant: NewTenant) -> None:
    tenant = new_tenant()
    name = "<b>You won</b> https://evil.example/?a=b " + "x" * 200
    with world.connections.platform() as connection:
        connection.execute("UPDATE tenants SET name = %s WHERE id = %s", [name, tenant.id])
    world.invite(tenant.id, world.address(), "Click www.evil.example", ["editor"], "en")
    (mail,) = world.mails()
    assert "evil.example" not in mail.text + mail.html
    assert "<b>" not in mail.html
    assert len(mail.text) < 600


def test_before_the_tables_exist_people_can_change_their_password_and_users_are_listed(world: World) -> None:
    user, rename = world.user(), "ALTER TABLE nextgen_identity.{} RENAME TO {}"
    tables = ("outgoing_mail", "password_resets", "email_changes", "former_emails", "invitations")
    with world.connections.platform() as connection:
        for table in tables:
            connection.execute(rename.format(table, f"{table}_away").encode())
        try:
            world.ask(user.email, HERE, "en")
            world.notify(user, "password-changed", "en")
            change = AccountChange(None, None, NEW_PASSWORD, None)
            assert world.users.change(None, user.id, change, world.time)
            assert world.mails() == []
            assert world.users.of_owner(None, "", 1)
        finally:
            for table in tables:
                connection.execute(rename.format(f"{table}_away", table).encode())
