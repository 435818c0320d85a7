"""A password of the platform's role changes while functions run: they read the secret again and go on."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from deeplens.database import connections as module
from deeplens.database import roles
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import url_of_secret
from deeplens.errors import DatabaseUnavailable, SecretStoreUnavailable
from psycopg import sql

ROLE = "deeplens_rotated"


class RotatingSecret:
    """The secret of a role as Amazon RDS manages it, its server, and how often it was read."""

    def __init__(self, platform_url: str) -> None:
        self.platform_url, self.reads, self.unavailable = platform_url, 0, False
        self.address = platform_url.rpartition("@")[2]
        self.value = ""
        self.rotate("first")

    def read(self) -> str:
        self.reads += 1
        if self.unavailable:
            raise SecretStoreUnavailable("throttled")
        return url_of_secret(self.value, self.address)

    def rotate(self, password: str, *, end_sessions: bool = True, write: bool = True) -> None:
        with psycopg.connect(self.platform_url, autocommit=True) as admin:
            roles.ensure_role(admin, ROLE, password)
            admin.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                    sql.Identifier(admin.info.dbname), sql.Identifier(ROLE)
                )
            )
            if end_sessions:
                admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [ROLE])
        if write:
            self.value = json.dumps({"username": ROLE, "password": password})


@pytest.fixture
def secret(platform_url: str) -> Iterator[RotatingSecret]:
    yield RotatingSecret(platform_url)
    with psycopg.connect(platform_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(ROLE)))
    roles.drop_role(platform_url, ROLE)


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def user_of(connections: Connections) -> str:
    with connections.platform() as connection:
        row = connection.execute("SELECT current_user AS name").fetchone()
    assert row is not None
    return str(row["name"])


def test_a_rotated_password_is_read_again_when_the_server_refuses_the_old_one(secret: RotatingSecret) -> None:
    connections = Connections(secret.read(), read_platform_url=secret.read)
    assert (user_of(connections), secret.reads) == (ROLE, 1)
    secret.rotate("second")
    assert (user_of(connections), secret.reads) == (ROLE, 2)
    connections.close()


def test_an_open_session_outlives_a_rotation_and_reads_nothing(secret: RotatingSecret) -> None:
    connections = Connections(secret.read(), read_platform_url=secret.read)
    user_of(connections)
    secret.rotate("second", end_sessions=False)
    assert (user_of(connections), secret.reads) == (ROLE, 1)
    connections.close()


def test_a_secret_that_is_behind_is_not_read_at_every_attempt(secret: RotatingSecret) -> None:
    seconds = Seconds()
    connections = Connections(secret.read(), monotonic=seconds, read_platform_url=secret.read)
    secret.rotate("second", write=False)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            user_of(connections)
    assert secret.reads == 2
    seconds.now += module.READ_AGAIN_AFTER_FAILURE_SECONDS
    secret.value = json.dumps({"username": ROLE, "password": "second"})
    assert (user_of(connections), secret.reads) == (ROLE, 3)
    connections.close()


def test_an_old_url_is_read_again_before_the_next_connection(secret: RotatingSecret) -> None:
    seconds = Seconds()
    connections = Connections(secret.read(), monotonic=seconds, read_platform_url=secret.read)
    user_of(connections)
    seconds.now += module.READ_AGAIN_SECONDS
    assert (user_of(connections), secret.reads) == (ROLE, 2)
    # The secret store may be unavailable while the server is not.
    seconds.now += module.READ_AGAIN_SECONDS
    secret.unavailable = True
    assert (user_of(connections), secret.reads) == (ROLE, 3)
    connections.close()


def test_limits_of_sessions_belong_to_the_role_as_proxies_refuse_options(secret: RotatingSecret) -> None:
    with connect(secret.read()) as connection:
        shown = {
            name: row["setting"]
            for name in roles.SESSION_MILLISECONDS
            if (row := connection.execute("SELECT setting FROM pg_settings WHERE name = %s", [name]).fetchone())
        }
        assert "options" not in connection.info.get_parameters()
    assert shown == {name: str(milliseconds) for name, milliseconds in roles.SESSION_MILLISECONDS.items()}
