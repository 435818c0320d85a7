"""Clients, codes and token families in the database: what is good once is good once, whoever comes at the same time."""

import itertools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.access.api_keys import digest
from deeplens.access.postgres import PostgresActiveClients
from deeplens.access.scopes import READ
from deeplens.database.connections import Connections
from deeplens.errors import TenantNotFound
from deeplens.identity.model import CODE_LIFE, FAMILY_LIFE, Client, Code, User
from deeplens.identity.postgres_grants import PostgresGrants
from deeplens.identity.postgres_people import PostgresClients, PostgresUsers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
_numbers = itertools.count(1)

type NewCode = Callable[[], tuple[str, Code]]


def a_client(client_id: str, **changed: object) -> Client:
    known = Client(client_id, None, "App", digest("a secret"), ("https://a.test/cb",), (), ("refresh_token",), (READ,))
    return replace(known, **changed)  # type: ignore[arg-type]


@pytest.fixture
def grants(connections: Connections) -> PostgresGrants:
    return PostgresGrants(connections)


@pytest.fixture
def clients(connections: Connections) -> PostgresClients:
    return PostgresClients(connections)


@pytest.fixture
def new_code(connections: Connections, clients: PostgresClients, grants: PostgresGrants) -> NewCode:
    def new() -> tuple[str, Code]:
        number = next(_numbers)
        clients.save(a_client(f"client-{number}"))
        user = User(f"usr_g{number}", None, f"g{number}@example.test", "", ("viewer",))
        PostgresUsers(connections).create(user, "a password of words")
        presented, family = secrets.token_urlsafe(), secrets.token_urlsafe()
        code = Code(
            family, f"client-{number}", user.id, "session", "https://a.test/cb", (READ,), "nonce", "c" * 43, NOW
        )
        grants.issue_code(presented, code, NOW)
        return presented, code

    return new


@pytest.fixture
def begun(grants: PostgresGrants, new_code: NewCode) -> tuple[str, str]:
    """A family's id and its first refresh token."""
    presented, code = new_code()
    assert grants.redeem_code(presented, code.client_id, NOW) == code
    assert grants.begin("first" + code.family, code.family)
    return code.family, "first" + code.family


def alive(grants: PostgresGrants, family: str, now: datetime = NOW) -> bool:
    grant_family = grants.family(family, now)
    return grant_family is not None and grant_family.live


def test_of_twenty_redemptions_at_once_one_wins_and_the_family_ends(grants: PostgresGrants, new_code: NewCode) -> None:
    for _ in range(5):
        presented, code = new_code()
        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(lambda _: grants.redeem_code(presented, code.client_id, NOW), range(20)))  # noqa: B023
        assert [result for result in found if result] == [code]
        assert not alive(grants, code.family)
        assert not grants.begin("too late", code.family)


def test_a_code_is_the_clients_own_and_dies_young(grants: PostgresGrants, new_code: NewCode) -> None:
    presented, code = new_code()
    assert grants.redeem_code(presented, "client-other", NOW) is None
    assert grants.redeem_code(presented, code.client_id, NOW + CODE_LIFE) is None
    assert grants.redeem_code("another", code.client_id, NOW) is None
    assert grants.redeem_code(presented, code.client_id, NOW + CODE_LIFE - SECOND) == code
    assert grants.redeem_code(presented, "client-other", NOW) is None
    assert alive(grants, code.family)


def test_of_twenty_rotations_at_once_one_wins(grants: PostgresGrants, begun: tuple[str, str]) -> None:
    family, token = begun
    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(lambda i: grants.rotate(token, f"{family}-{i}", NOW), range(20)))
    assert won.count(True) == 1
    found = [grants.family_of_token(f"{family}-{i}", NOW) for i in range(20)]
    assert [result is not None for result in found] == won
    spent = grants.family_of_token(token, NOW)
    assert spent is not None
    assert spent[1] == NOW


def test_of_twenty_rotations_to_the_same_successor_at_once_all_win_and_one_successor_is_stored(
    grants: PostgresGrants, begun: tuple[str, str], connections: Connections
) -> None:
    family, token = begun
    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(lambda _: grants.rotate(token, f"{family}-next", NOW), range(20)))
    assert won == [True] * 20
    with connections.platform() as connection:
        stored = connection.execute("SELECT 1 FROM nextgen_identity.refresh_tokens WHERE family = %s", [family])
        assert len(stored.fetchall()) == 2


@pytest.mark.parametrize(
    ("seconds", "successor", "used", "revoked", "repeated"),
    [
        (0, "next", False, False, True),
        (9, "next", False, False, True),
        (10, "next", False, False, False),
        (0, "another", False, False, False),
        (0, "next", True, False, False),
        (0, "next", False, True, False),
    ],
)
def test_a_spent_token_repeats_its_unused_successor_for_ten_seconds(
    grants: PostgresGrants,
    begun: tuple[str, str],
    seconds: int,
    successor: str,
    used: bool,
    revoked: bool,
    repeated: bool,
) -> None:
    family, token = begun
    assert grants.rotate(token, f"{family}-next", NOW)
    if used:
        assert grants.rotate(f"{family}-next", f"{family}-third", NOW)
    if revoked:
        grants.revoke(family, NOW)
    assert grants.rotate(token, f"{family}-{successor}", NOW + seconds * SECOND) is repeated
    assert grants.family_of_token(f"{family}-another", NOW) is None


def test_a_revoked_family_is_never_continued(grants: PostgresGrants, begun: tuple[str, str]) -> None:
    family, token = begun
    grants.revoke(family, NOW)
    assert not alive(grants, family)
    assert not grants.rotate(token, "next", NOW)
    assert not grants.begin("again", family)
    assert grants.family_of_token("next", NOW) is None


def test_a_family_ends_after_its_time(grants: PostgresGrants, begun: tuple[str, str]) -> None:
    family, token = begun
    assert alive(grants, family, NOW + FAMILY_LIFE - SECOND)
    assert not alive(grants, family, NOW + FAMILY_LIFE)
    assert not grants.rotate(token, "next", NOW + FAMILY_LIFE)


def test_only_what_is_over_is_forgotten(
    grants: PostgresGrants, begun: tuple[str, str], connections: Connections
) -> None:
    family, token = begun
    grants.forget(NOW + FAMILY_LIFE)
    assert grants.family_of_token(token, NOW) is not None
    grants.forget(NOW + FAMILY_LIFE + SECOND)
    assert grants.family(family, NOW) is None
    assert grants.family_of_token(token, NOW) is None
    with connections.platform() as connection:
        codes = connection.execute("SELECT 1 FROM nextgen_identity.authorization_codes WHERE family = %s", [family])
        assert codes.fetchone() is None


def test_neither_codes_nor_tokens_are_kept_as_they_are(begun: tuple[str, str], connections: Connections) -> None:
    with connections.platform() as connection:
        for table in ("authorization_codes", "refresh_tokens"):
            kept = str(connection.execute(f"SELECT * FROM nextgen_identity.{table}").fetchall())  # type: ignore[arg-type]
            assert begun[1] not in kept


def test_a_client_is_found_as_it_was_saved_and_changed(clients: PostgresClients, connections: Connections) -> None:
    client = a_client("client-kept")
    clients.save(client)
    assert clients.find("client-kept") == client
    changed = replace(client, secret_sha256=None, redirect_uris=(), needs_consent=False)
    clients.save(changed)
    assert clients.find("client-kept") == changed
    with pytest.raises(ValueError, match="another owner"):
        clients.save(replace(changed, tenant_id="tenant_missing"))
    assert clients.find("client-kept") == changed
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.clients SET status = 'disabled' WHERE id = 'client-kept'")
    assert clients.find("client-kept") is None


def test_a_client_of_no_tenant_that_exists_or_with_unknown_scopes_is_not_saved(clients: PostgresClients) -> None:
    with pytest.raises(TenantNotFound):
        clients.save(a_client("client-x", tenant_id="tenant_missing"))
    with pytest.raises(ValueError, match="everything"):
        clients.save(a_client("client-x", scopes=("everything",)))
    assert clients.find("client-x") is None


def test_consent_adds_up(clients: PostgresClients, new_code: NewCode) -> None:
    _, code = new_code()
    assert clients.granted_scopes(code.user_id, code.client_id) == frozenset()
    clients.grant_scopes(code.user_id, code.client_id, ["openid", READ])
    clients.grant_scopes(code.user_id, code.client_id, ["openid", "profile"])
    assert clients.granted_scopes(code.user_id, code.client_id) == {"openid", "profile", READ}


def test_clients_are_listed_in_pages_and_active_until_they_end(
    clients: PostgresClients, connections: Connections
) -> None:
    names = [f"client-page{number}" for number in range(3)]
    for name in reversed(names):
        clients.save(a_client(name))
    page = clients.of_owner(None, "client-page", 2)
    assert [client.id for client in page] == names[:2]
    assert [client.id for client in clients.of_owner(None, names[1], 1)] == names[2:]

    active = PostgresActiveClients(connections)
    assert [active.is_active(name) for name in (names[0], "client-none", "\x00")] == [True, False, False]
    clients.delete(None, names[0])
    with connections.platform() as connection:
        connection.execute("UPDATE nextgen_identity.clients SET status = 'disabled' WHERE id = %s", [names[1]])
    assert [active.is_active(name) for name in names] == [False, False, True]
