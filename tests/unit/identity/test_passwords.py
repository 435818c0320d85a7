"""Passwords and their hashes."""

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from deeplens.identity import passwords


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    stored = passwords.hashed("correct horse")
    assert passwords.matches(stored, "correct horse")
    assert not passwords.matches(stored, "correct horsf")
    assert not passwords.matches(stored, "")
    assert stored != passwords.hashed("correct horse")


def test_hashes_are_argon2id_as_rfc_9106_recommends() -> None:
    parameters = extract_parameters(passwords.hashed("correct horse"))
    chosen = (parameters.type, parameters.memory_cost, parameters.time_cost, parameters.parallelism)
    assert chosen == (Type.ID, 64 * 1024, 3, 4)


def test_no_account_has_a_password_not_even_that_of_nobody() -> None:
    assert not passwords.matches(None, "nobody has this password")
    assert not passwords.matches(None, "")


def test_what_is_no_hash_matches_nothing() -> None:
    assert not passwords.matches("not a hash", "not a hash")


def test_a_hash_with_weaker_parameters_is_to_be_renewed() -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("correct horse")
    assert passwords.matches(weak, "correct horse")
    assert passwords.outdated(weak)
    assert not passwords.outdated(passwords.hashed("correct horse"))


@pytest.mark.parametrize("password", ["", "seven77", "x" * 257])
def test_a_password_that_is_too_short_or_too_long_is_not_taken(password: str) -> None:
    with pytest.raises(ValueError, match="8 to 256"):
        passwords.hashed(password)
