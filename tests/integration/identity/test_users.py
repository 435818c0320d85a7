"""Users and sessions in the database."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from deeplens.database.connections import Connections
from deeplens.errors import TenantNotFound
from deeplens.identity import passwords
from deeplens.identity.model import SESSION_LIFE, User
from deeplens.identity.postgres_people import PostgresUsers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PASSWORD = "correct horse"
_numbers = itertools.count(1)

type NewUser = Callable[[], User]


@pytest.fixture(autouse=True)
def _fast_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is when a password is looked at, not how slowly."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobody.cache_clear()


@pytest.fixture
def users(connections: Connections) -> PostgresUsers:
    return PostgresUsers(connections)


@pytest.fixture
def new_user(users: PostgresUsers) -> NewUser:
    def new() -> User:
        number = next(_numbers)
        user = User(f"usr_db{number}", None, f"db{number}@example.test", "Somebody", ("viewer",))
        users.create(user, PASSWORD)
        return user

    return new


def test_a_user_signs_in_whatever_the_case_of_the_address(users: PostgresUsers, new_user: NewUser) -> None:
    user = new_user()
    assert users.sign_in(user.email, PASSWORD) == user
    assert users.sign_in(f" {user.email.upper()} ", PASSWORD) == user
    assert users.sign_in(user.email, "wrong password") is None
    assert users.sign_in("nobody@example.test", PASSWORD) is None
    assert users.sign_in("\x00'; --", "\x00") is None


def test_a_hash_with_weaker_parameters_is_renewed_by_signing_in(
    users: PostgresUsers, new_user: NewUser, monkeypatch: pytest.MonkeyPatch, connections: Connections
) -> None:
    user = new_user()
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    assert users.sign_in(user.email, PASSWORD) == user
    with connections.platform() as connection:
        statement = "SELECT password_hash FROM nextgen_identity.users WHERE id = %s"
        row = connection.execute(statement, [user.id]).fetchone()
    assert row is not None
    assert "t=2" in row["password_hash"]
    assert users.sign_in(user.email, PASSWORD) == user


def test_a_disabled_user_is_nobody(users: PostgresUsers, new_user: NewUser, connections: Connections) -> None:
    user = new_user()
    secret = users.open_session(user, NOW)
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.users SET status = 'disabled' WHERE id = %s", [user.id])
    assert users.find(user.id) is None
    assert users.sign_in(user.email, PASSWORD) is None
    assert users.session(secret, NOW) is None


def test_a_session_lives_for_its_time_and_until_it_is_closed(users: PostgresUsers, new_user: NewUser) -> None:
    user = new_user()
    secret, other = users.open_session(user, NOW), users.open_session(user, NOW)
    session = users.session(secret, NOW + SESSION_LIFE - SECOND)
    assert session is not None
    assert (session.user, session.authenticated_at) == (user, NOW)
    assert users.session(secret, NOW + SESSION_LIFE) is None
    assert users.session(session.id, NOW) is None
    users.close_session(secret)
    assert users.session(secret, NOW) is None
    assert users.session(other, NOW) is not None


def test_a_user_of_no_tenant_that_exists_or_of_an_unknown_role_is_not_created(users: PostgresUsers) -> None:
    with pytest.raises(TenantNotFound):
        users.create(User("usr_x", "tenant_missing", "x@example.test", "X", ("viewer",)), PASSWORD)
    with pytest.raises(ValueError, match="root"):
        users.create(User("usr_x", None, "x@example.test", "X", ("root",)), PASSWORD)
    assert not users.exist(["x@example.test"])


def test_users_are_listed_in_pages(users: PostgresUsers) -> None:
    emails = [f"page{number}@example.test" for number in range(3)]
    for number, email in enumerate(reversed(emails)):
        users.create(User(f"usr_page{number}", None, email, "Somebody", ("viewer",)), PASSWORD)
    assert [account.email for account in users.of_owner(None, "page", 2)] == emails[:2]
    assert [account.email for account in users.of_owner(None, emails[1], 1)] == emails[2:]
    assert isinstance(users.of_owner(None, "\x00", 1), list)
