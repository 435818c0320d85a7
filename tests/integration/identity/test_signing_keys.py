"""Signing keys over the database and a secret store: rotation at once, lost secrets, crashes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.errors import SecretNotFound, SecretStoreUnavailable
from deeplens.identity.key_plan import LEAD, LONGEST_TOKEN, MARGIN, PERIOD
from deeplens.identity.postgres_keys import PostgresKeyRows, PostgresSigningKeys
from deeplens.identity.revoke_signing_key import RevokeSigningKey
from deeplens.identity.signing_keys import DERIVATION_KEY, PREFIX, DerivationKey, SigningKeys


class Secrets:
    """A secret store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, name: str) -> str:
        if name not in self.kept:
            raise SecretNotFound(name)
        return self.kept[name]

    def put(self, name: str, value: str) -> None:
        self.kept[name] = value

    def delete(self, name: str) -> None:
        self.kept.pop(name, None)


class World:
    """Functions that share one database and one secret store, each with its own cache."""

    def __init__(self, connections: Connections) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.rows, self.secrets = PostgresSigningKeys(connections), Secrets()

    def now(self) -> datetime:
        return self.time

    def function(self) -> SigningKeys:
        return SigningKeys(self.rows, self.secrets, self)

    def revoke(self, kid: str) -> bool:
        return RevokeSigningKey(self.rows, self)(kid)

    def kids(self) -> list[str]:
        return [key.kid for key in self.rows.all()]


@pytest.fixture
def world(connections: Connections) -> Iterator[World]:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")
    yield World(connections)
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.signing_keys")


def test_the_first_that_signs_makes_the_key_and_all_use_it(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        signers = list(pool.map(lambda _: world.function().signer(), range(4)))
    assert len(set(signers)) == 1
    assert world.kids() == [signers[0][0]]
    assert [key["kid"] for key in world.function().jwks()["keys"]] == world.kids()
    assert set(world.secrets.kept) == {PREFIX + signers[0][0]}


def test_the_key_set_holds_no_private_half(world: World) -> None:
    (key,) = world.function().jwks()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_two_rotations_at_once_make_one_key(world: World) -> None:
    first, _ = world.function().signer()
    world.time += PERIOD - LEAD
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: world.function().rotate(), range(4)))
    assert sum(plan.create is not None for plan in plans) == 1
    assert len(world.kids()) == 2
    assert world.function().signer()[0] == first


def test_a_key_signs_after_its_lead_and_its_forerunner_goes_when_its_tokens_are_dead(world: World) -> None:
    first, _ = world.function().signer()
    world.time += PERIOD - LEAD
    world.function().rotate()
    second = world.kids()[1]
    world.time += LEAD
    assert world.function().signer()[0] == second
    world.time += LONGEST_TOKEN
    world.function().rotate()
    assert world.kids() == [first, second]
    world.time += MARGIN
    world.function().rotate()
    assert world.kids() == [second]
    assert set(world.secrets.kept) == {PREFIX + second}


def test_a_key_whose_secret_is_lost_still_verifies_and_a_new_one_signs(world: World) -> None:
    first, _ = world.function().signer()
    world.secrets.kept.clear()
    world.time += timedelta(days=1)
    second, _ = world.function().signer()
    assert second != first
    assert set(world.kids()) == {first, second}
    world.time += LONGEST_TOKEN + MARGIN + timedelta(seconds=1)
    world.function().rotate()
    assert world.kids() == [second]


def test_a_revoked_key_leaves_the_set_at_once_another_signs_and_its_secret_is_deleted(world: World) -> None:
    running = world.function()
    first, _ = running.signer()
    assert not world.revoke("unknown")
    assert not world.revoke("derivation\x00")
    assert world.revoke(first)
    assert not world.revoke(first)
    second, _ = running.signer()
    assert [key["kid"] for key in running.jwks()["keys"]] == [second] != [first]
    world.function().rotate()
    assert world.kids() == [second]
    assert set(world.secrets.kept) == {PREFIX + second}


def test_a_key_is_revoked_also_while_the_secret_store_is_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = world.function().signer()
    with monkeypatch.context() as unavailable:
        unavailable.setattr(world.secrets, "delete", lambda _: (_ for _ in ()).throw(SecretStoreUnavailable("away")))
        assert world.revoke(first)
        with pytest.raises(SecretStoreUnavailable):
            world.function().rotate()
        assert world.rows.jwks() == {"keys": []}
    world.function().rotate()
    assert PREFIX + first not in world.secrets.kept


def test_before_the_column_exists_keys_sign_and_verify(world: World, connections: Connections) -> None:
    rename = "ALTER TABLE nextgen_identity.signing_keys RENAME COLUMN {} TO {}"
    with connections.platform() as connection:
        connection.execute(rename.format("revoked_at", "put_away").encode())
        try:
            kid, _ = world.function().signer()
            assert [key["kid"] for key in world.function().jwks()["keys"]] == [kid]
        finally:
            connection.execute(rename.format("put_away", "revoked_at").encode())


def test_a_crash_between_secret_and_row_leaves_a_secret_that_nobody_uses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crashing:
        crashing.setattr(PostgresKeyRows, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.function().signer()
    assert world.kids() == []
    kid, _ = world.function().signer()
    assert world.kids() == [kid]
    assert len(world.secrets.kept) == 2


def test_functions_that_derive_at_once_use_one_key_which_outlives_the_signing_keys(world: World) -> None:
    def derive(_: object) -> str:
        return DerivationKey(world.rows, world.secrets).derive("refresh-token", "spent")

    with ThreadPoolExecutor(4) as pool:
        derived = set(pool.map(derive, range(4)))
    assert len(derived) == 1
    world.time += 3 * PERIOD
    world.function().rotate()
    assert {derive(0)} == derived
    key = DerivationKey(world.rows, world.secrets)
    assert (
        len({key.derive("refresh-token", "spent"), key.derive("device", "spent"), key.derive("device", "other")}) == 3
    )
    assert world.secrets.kept[DERIVATION_KEY] not in derived
