"""Signing in over the database: how many wrong passwords are heard, also when they come at once."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from deeplens.database.connections import Connections
from deeplens.identity import passwords
from deeplens.identity.model import ATTEMPT_WINDOW, User
from deeplens.identity.postgres_attempts import PostgresSignInAttempts
from deeplens.identity.postgres_keys import PostgresSigningKeys
from deeplens.identity.postgres_people import PostgresUsers
from deeplens.identity.signing_keys import DerivationKey
from deeplens.identity.throttle import MAX_ATTEMPTS, MAX_ATTEMPTS_PER_ADDRESS, SignIn, SignInThrottled

from tests.fakes.stores import FakeSecrets

PASSWORD, WRONG = "correct horse battery", "wrong horse battery"
HERE, ELSEWHERE = "203.0.113.7", "198.51.100.1"
SECOND = timedelta(seconds=1)
_numbers = itertools.count(1)


class World:
    """Sign-ins at a time that tests set."""

    def __init__(self, connections: Connections) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.users, self.attempts = PostgresUsers(connections), PostgresSignInAttempts(connections)
        key = DerivationKey(PostgresSigningKeys(connections), FakeSecrets())
        self.sign_in = SignIn(self.users, self.attempts, key, self)
        self.heard: list[str] = []

    def now(self) -> datetime:
        return self.time

    def user(self) -> User:
        number = next(_numbers)
        user = User(f"usr_throttled{number}", None, f"throttled{number}@example.test", "Somebody", ("viewer",))
        self.users.create(user, PASSWORD)
        return user

    def answer(self, email: str, password: str, host: str = HERE, mark: str = "") -> str:
        try:
            return "in" if self.sign_in(email, password, host, mark) else "wrong"
        except SignInThrottled:
            return "throttled"

    def guess(self, email: str, times: int, host: str = HERE, mark: str = "") -> list[str]:
        return [self.answer(email, WRONG, host, mark) for _ in range(times)]


@pytest.fixture
def world(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> World:
    """What is tested here is when a password is looked at, not how slowly."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobody.cache_clear()
    world, compare = World(connections), passwords.matches
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.sign_in_attempts")

    def matches(stored: str | None, password: str) -> bool:
        world.heard.append(password)
        return compare(stored, password)

    monkeypatch.setattr(passwords, "matches", matches)
    return world


@pytest.mark.parametrize("exists", [True, False])
def test_five_wrong_passwords_are_heard_whether_or_not_the_account_exists(world: World, exists: bool) -> None:
    email = world.user().email if exists else "nobody@example.test"
    assert world.guess(email, 7) == ["wrong"] * 5 + ["throttled"] * 2
    assert world.answer(email, PASSWORD) == "throttled"
    assert len(world.heard) == MAX_ATTEMPTS


def test_a_wrong_password_every_quarter_of_an_hour_locks_nobody(world: World) -> None:
    user = world.user()
    assert world.guess(user.email, 5) == ["wrong"] * 5
    for _ in range(8):
        world.time += ATTEMPT_WINDOW
        assert world.guess(user.email, 1) == ["wrong"]
        assert world.answer(user.email, PASSWORD) == "in"


def test_a_lock_ends_with_its_window_however_many_attempts_were_refused(world: World) -> None:
    user = world.user()
    world.guess(user.email, 5)
    world.time += ATTEMPT_WINDOW - SECOND
    assert world.guess(user.email, 20) == ["throttled"] * 20
    world.time += SECOND
    assert world.answer(user.email, PASSWORD) == "in"


def test_guesses_from_one_network_do_not_lock_another(world: World) -> None:
    user = world.user()
    assert world.guess(user.email, 50, ELSEWHERE).count("wrong") == MAX_ATTEMPTS
    assert world.answer(user.email, PASSWORD) == "in"
    assert world.answer(user.email, PASSWORD, ELSEWHERE) == "throttled"


def test_guesses_from_many_networks_lock_all_but_a_device_that_signed_in_before(world: World) -> None:
    user, other = world.user(), world.user()
    mark = world.sign_in.mark_device(user)
    answers = [world.answer(user.email, WRONG, f"198.51.100.{number}") for number in range(40)]
    assert answers.count("wrong") == MAX_ATTEMPTS_PER_ADDRESS
    assert world.answer(user.email, PASSWORD) == "throttled"
    assert world.answer(user.email, PASSWORD, mark=mark) == "in"
    for forged in (world.sign_in.mark_device(other), "device.signature", mark[:-1], f"{mark}A", ".", "ä.ö"):
        assert world.answer(user.email, PASSWORD, mark=forged) == "throttled"
    assert world.answer(other.email, PASSWORD) == "in"
    # The device guesses no more than anybody else.
    assert world.guess(user.email, 7, mark=mark) == ["wrong"] * 5 + ["throttled"] * 2


def test_one_password_tried_on_many_accounts_stops_at_the_networks_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeplens.identity.throttle.MAX_ATTEMPTS_PER_NETWORK", 10)
    user = world.user()
    answers = [world.answer(f"somebody{number}@example.test", WRONG) for number in range(12)]
    assert answers == ["wrong"] * 10 + ["throttled"] * 2
    assert world.answer(user.email, PASSWORD) == "throttled"
    assert world.answer(user.email, PASSWORD, ELSEWHERE) == "in"


def test_the_right_password_forgives(world: World) -> None:
    user = world.user()
    for _ in range(10):
        assert world.guess(user.email, 4) == ["wrong"] * 4
        if world.answer(user.email, PASSWORD) != "in":
            break
    # Each round leaves four at the address, whose limit is twenty; its own counter began anew each time.
    assert world.guess(user.email, 1, ELSEWHERE) == ["throttled"]
    assert len([password for password in world.heard if password == PASSWORD]) == MAX_ATTEMPTS_PER_ADDRESS // 4 - 1


def test_of_guesses_at_the_same_time_no_more_are_heard_than_of_guesses_one_by_one(world: World) -> None:
    user = world.user()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: world.answer(user.email, WRONG), range(40)))
    assert sorted(answers) == ["throttled"] * 35 + ["wrong"] * 5
    assert len(world.heard) == MAX_ATTEMPTS


def test_counters_are_forgotten_when_their_window_has_ended(world: World, connections: Connections) -> None:
    world.guess("nobody@example.test", 1)
    world.attempts.forget(world.time + ATTEMPT_WINDOW - SECOND)
    with connections.platform() as connection:
        count = "SELECT count(*) AS n FROM nextgen_identity.sign_in_attempts"
        assert connection.execute(count).fetchone() == {"n": 3}
        world.attempts.forget(world.time + ATTEMPT_WINDOW)
        assert connection.execute(count).fetchone() == {"n": 0}


def test_before_the_table_exists_people_can_sign_in(world: World, connections: Connections) -> None:
    user, rename = world.user(), "ALTER TABLE nextgen_identity.{} RENAME TO {}"
    with connections.platform() as connection:
        connection.execute(rename.format("sign_in_attempts", "put_away").encode())
        try:
            assert world.guess(user.email, 7) == ["wrong"] * 7
            assert world.answer(user.email, PASSWORD) == "in"
            world.attempts.forget(world.time)
        finally:
            connection.execute(rename.format("put_away", "sign_in_attempts").encode())
