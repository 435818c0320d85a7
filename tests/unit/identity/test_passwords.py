"""Passwords and their hashes."""

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from deeplens.identity import development, passwords


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


def test_a_longer_password_from_before_still_matches_whole() -> None:
    stored = passwords.hashed("x" * 256)
    assert passwords.matches(stored, "x" * 256)
    assert not passwords.matches(stored, "x" * 255)
    assert not passwords.matches(stored, "x" * 257)


def test_a_hash_with_weaker_parameters_is_to_be_renewed() -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("correct horse")
    assert passwords.matches(weak, "correct horse")
    assert passwords.outdated(weak)
    assert not passwords.outdated(passwords.hashed("correct horse"))


@pytest.mark.parametrize("password", ["", "eleven hens", "x" * 129])
def test_a_password_that_is_too_short_or_too_long_is_not_accepted(password: str) -> None:
    with pytest.raises(passwords.WeakPassword, match=f"has {len(password)} characters, and 12 to 128 are accepted"):
        passwords.accepted(password)


@pytest.mark.parametrize(
    "password",
    [
        *("administrator", "unbelievable", "123456789012", "qwertyuiop12", "password1234", "Password123!"),
        *("iloveyou12345", "letmeinletmein", "aaaaaaaaaaaa", "abcdefghijkl", "a" * 128, "12.12.2012.12"),
    ],
)
def test_a_common_password_is_not_accepted(password: str) -> None:
    with pytest.raises(passwords.WeakPassword, match=r"easy to guess\. \S.* Take several words"):
        passwords.accepted(password)


@pytest.mark.parametrize("password", ["correct horse battery", "xK9#mQ2$vLp7", "żółw je śliwki"])
def test_a_password_that_is_hard_to_guess_is_accepted_as_it_is(password: str) -> None:
    assert passwords.accepted(password) == password


def test_a_password_that_was_accepted_in_the_past_still_signs_in() -> None:
    assert passwords.matches(passwords.hashed("old pass"), "old pass")


def test_the_documented_password_of_the_local_stack_is_accepted() -> None:
    assert passwords.accepted(development.PASSWORD)


@pytest.mark.parametrize(
    ("password", "strength"),
    [
        ("", "short"),
        ("eleven hens", "short"),
        ("x" * 129, "long"),
        ("password1234", "weak"),
        ("trumpet 198", "short"),
        ("violet lantern", "fair"),
        ("violet lantern harbour mule", "strong"),
    ],
)
def test_what_is_rated_fair_is_accepted_and_nothing_less(password: str, strength: str) -> None:
    assert passwords.strength_of(password) == strength
    if strength in ("fair", "strong"):
        assert passwords.accepted(password) == password
    else:
        with pytest.raises(passwords.WeakPassword):
            passwords.accepted(password)
