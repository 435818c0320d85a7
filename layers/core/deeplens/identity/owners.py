"""Whose users and clients a request of the Admin API is about, and what its caller may do to them."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, Operator, check_grantable
from deeplens.access.model import Principal
from deeplens.access.scopes import API_SCOPES, allowed
from deeplens.errors import ApiError
from deeplens.identity.model import Account, AccountChange
from deeplens.identity.ports import Users


class Owner(NamedTuple):
    """The tenant whose users and clients a request is about, or None for the platform's own; and who asks."""

    id: str | None
    principal: Principal


def of_tenant(tenant: Administrator, principal: AuthenticatedAdministrator) -> Owner:
    return Owner(tenant.id, principal)


def of_platform(principal: Operator) -> Owner:
    return Owner(None, principal)


OWNERS: tuple[tuple[str, Callable[..., Owner], tuple[int, ...]], ...] = (
    ("/v1/admin/tenants/{tenant_id}", of_tenant, (404,)),
    ("/v1/admin", of_platform, ()),
)
"""The prefix of an owner's routes, the dependency that finds the owner, and the statuses for no such owner."""


def check_change(owner: Owner, change: AccountChange, account: Account) -> None:
    """Raise 403 for an account that is stronger than the administrator; disabling it only takes access away."""
    if change != AccountChange(None, None, None, "disabled"):
        check_grantable(owner.principal, allowed(account.roles, API_SCOPES))


def manageable_user(owner: Owner, users: Users, user_id: str, now: datetime) -> Account:
    """The owner's user, whose credentials the administrator may handle. Raises 404, and 403 for a stronger user."""
    nothing = AccountChange(None, None, None, None)
    account = users.change(owner.id, user_id, nothing, now, lambda account: check_change(owner, nothing, account))
    return require(account, "user", user_id)


def require[T](value: T | None, kind: str, name: str) -> T:
    """The value; raises 404 for None."""
    if value is None:
        raise ApiError(404, f"{kind}-not-found", f"{kind.capitalize()} not found", f"There is no {kind} {name[:64]}.")
    return value
