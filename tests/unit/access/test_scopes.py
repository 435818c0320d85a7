"""Which scopes a role gives."""

import itertools

import pytest
from deeplens.access.scopes import ADMIN, READ, ROLES, SCOPES, WRITE, allowed, checked_roles, checked_scopes
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("roles", "given"),
    [
        ((), []),
        (("viewer",), [READ]),
        (("editor",), [READ, WRITE]),
        (("tenant_admin",), [READ, WRITE, ADMIN]),
        (("platform_admin",), [READ, WRITE, ADMIN]),
        (("viewer", "editor"), [READ, WRITE]),
        (("a role of long ago",), []),
    ],
)
def test_a_user_grants_what_the_roles_give(roles: tuple[str, ...], given: list[str]) -> None:
    assert allowed(roles, SCOPES) == ["openid", "profile", "offline_access", *given]


@given(st.sets(st.sampled_from(sorted(ROLES))), st.lists(st.sampled_from([*SCOPES, "other", ""])))
def test_nobody_is_given_more_than_was_asked_for(roles: set[str], requested: list[str]) -> None:
    scopes = allowed(roles, requested)
    assert set(scopes) <= set(requested)
    assert len(scopes) == len(set(scopes))


def test_more_roles_never_give_less() -> None:
    for few, more in itertools.product(ROLES, ROLES):
        assert set(allowed([few], SCOPES)) <= set(allowed([few, more], SCOPES))


def test_unknown_scopes_and_roles_are_named() -> None:
    assert checked_scopes([WRITE, READ, READ]) == [READ, WRITE]
    assert checked_roles(["viewer", "viewer"]) == ["viewer"]
    with pytest.raises(ValueError, match="openid"):
        checked_scopes(["openid"])
    with pytest.raises(ValueError, match="root"):
        checked_roles(["root"])
