"""Whose users and clients a request of the Admin API is about, and what its caller may do to them."""

from typing import NamedTuple

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, Operator, check_grantable
from deeplens.access.model import Principal
from deeplens.access.scopes import API_SCOPES, allowed
from deeplens.errors import ApiError
from deeplens.identity.model import Account, AccountChange


class Owner(NamedTuple):
    """The tenant whose users and clients a request is about, or None for the platform's own; and who asks."""

    id: str | None
    principal: Principal


def of_tenant(tenant: Administrator, principal: AuthenticatedAdministrator) -> Owner:
    return Owner(tenant.id, principal)


def of_platform(principal: Operator) -> Owner:
    return Owner(None, principal)


def check_change(owner: Owner, change: AccountChange, account: Account) -> None:
    """Raise 403 for an account that is stronger than the administrator; disabling it only takes access away."""
    if change != AccountChange(None, None, None, "disabled"):
        check_grantable(owner.principal, allowed(account.roles, API_SCOPES))


def require[T](value: T | None, kind: str, name: str) -> T:
    if value is None:
        raise ApiError(404, f"{kind}-not-found", f"{kind.capitalize()} not found", f"There is no {kind} {name[:64]}.")
    return value
