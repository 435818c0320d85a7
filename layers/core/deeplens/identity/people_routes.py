"""Users and OAuth clients: a tenant's, and the platform's own below /v1/admin."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, Operator
from deeplens.access.principal import Principal
from deeplens.access.scopes import API_SCOPES, allowed
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.identity.model import Account, ClientRecord
from deeplens.identity.ports import Accounts
from deeplens.identity.schemas import (
    ClientRequest,
    Clients,
    ClientView,
    NewClientView,
    UserChange,
    UserRequest,
    Users,
    UserView,
)


def of_tenant(tenant: Administrator) -> str | None:
    return tenant.id


def of_platform(_: Operator) -> str | None:
    return None


class SaveUser:
    """Create and change users. Raises ``ApiError`` for roles that the owner or the administrator cannot give."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts, self._clock = accounts, clock

    def create(self, principal: Principal, owner: str | None, user: UserRequest) -> UserView:
        _check_roles(principal, owner, user.roles)
        now = self._clock.now()
        account = Account(new_id("usr", now), owner, user.email, user.name, tuple(user.roles), "active", now)
        created = self._accounts.create_user(account, user.password.get_secret_value())
        if created is None:
            raise ApiError(409, "email-taken", "Address taken", "An account with this address exists.")
        return _user(created)

    def change(self, principal: Principal, owner: str | None, user_id: str, change: UserChange) -> UserView:
        _check_roles(principal, owner, change.roles or [])
        password = change.password.get_secret_value() if change.password else None
        changed = self._accounts.change_user(
            owner, user_id, change.name, change.roles, password, change.status, self._clock.now()
        )
        return _user(_require(changed, "user", user_id))


def users_router(prefix: str, owner_of: Callable[..., str | None], *missing: int) -> APIRouter:
    """Routes about the users of one owner: a tenant's id, or None for the platform's own."""
    router = APIRouter(prefix=f"{prefix}/users", tags=["users"])
    Owner = Annotated[str | None, Depends(owner_of)]

    @router.get("", summary="Users", responses=responses(*missing))
    def list_users(owner: Owner, accounts: Injected[Accounts]) -> Users:
        return Users(users=[_user(account) for account in accounts.users(owner)])

    @router.post("", status_code=201, summary="Create a user", responses=responses(409, *missing))
    def create_user(
        owner: Owner, principal: AuthenticatedAdministrator, save: Injected[SaveUser], user: UserRequest
    ) -> UserView:
        """An address signs in to one account of the platform."""
        return save.create(principal, owner, user)

    @router.patch("/{user_id}", summary="Change a user", responses=responses(404, *missing))
    def change_user(
        owner: Owner, principal: AuthenticatedAdministrator, save: Injected[SaveUser], user_id: str, change: UserChange
    ) -> UserView:
        """A new password, and disabling, end the user's sessions and refresh tokens."""
        return save.change(principal, owner, user_id, change)

    @router.delete("/{user_id}", status_code=204, summary="Delete a user", responses=responses(404, *missing))
    def delete_user(owner: Owner, accounts: Injected[Accounts], user_id: str) -> None:
        _require(accounts.delete_user(owner, user_id) or None, "user", user_id)

    return router


def clients_router(prefix: str, owner_of: Callable[..., str | None], *missing: int) -> APIRouter:
    """Routes about the OAuth clients of one owner."""
    router = APIRouter(prefix=f"{prefix}/clients", tags=["clients"])
    Owner = Annotated[str | None, Depends(owner_of)]

    @router.get("", summary="OAuth clients", responses=responses(*missing))
    def list_clients(owner: Owner, accounts: Injected[Accounts]) -> Clients:
        return Clients(clients=[ClientView.model_validate(_client(record)) for record in accounts.clients(owner)])

    @router.post("", status_code=201, summary="Register a client", responses=responses(*missing))
    def create_client(
        owner: Owner,
        principal: AuthenticatedAdministrator,
        accounts: Injected[Accounts],
        clock: Injected[Clock],
        client: ClientRequest,
    ) -> NewClientView:
        """Redirect URIs are compared as they are: https, http on this machine, or an app's own scheme.

        Only operators of the platform register clients that skip the consent page.
        """
        _check_client(principal, client)
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in client}
        record = ClientRecord(id=new_id("cli", clock.now()), tenant_id=owner, **values)
        return _with_secret(record, accounts.create_client(record))

    @router.post("/{client_id}/rotate", summary="Give a client a new secret", responses=responses(404, *missing))
    def rotate_secret(owner: Owner, accounts: Injected[Accounts], client_id: str) -> NewClientView:
        """The old secret ends at once."""
        return _with_secret(*_require(accounts.new_secret(owner, client_id), "client", client_id))

    @router.delete("/{client_id}", status_code=204, summary="Delete a client", responses=responses(404, *missing))
    def delete_client(owner: Owner, accounts: Injected[Accounts], client_id: str) -> None:
        _require(accounts.delete_client(owner, client_id) or None, "client", client_id)

    return router


def _check_roles(principal: Principal, owner: str | None, roles: list[Any]) -> None:
    """Raise 422 for roles that the owner's users cannot have, 403 for scopes that the administrator lacks."""
    if roles and ("platform_admin" in roles) != (owner is None):
        detail = "platform_admin is for users of the platform, and these have no other role."
        raise ApiError(422, "role-not-possible", "Role not possible here", detail)
    if owner is None and len(roles) > 1:
        raise ApiError(422, "role-not-possible", "Role not possible here", "platform_admin includes the others.")
    _check_scopes(principal, allowed(roles, API_SCOPES))


def _check_client(principal: Principal, client: ClientRequest) -> None:
    if "client_credentials" in client.grants and not client.confidential:
        raise _not_possible("client_credentials needs a secret.")
    if ("authorization_code" in client.grants) != bool(client.redirect_uris):
        raise _not_possible("authorization_code needs a redirect URI, and only that grant has one.")
    if "refresh_token" in client.grants and "authorization_code" not in client.grants:
        raise _not_possible("refresh_token needs authorization_code.")
    if principal.tenant_id and not client.needs_consent:
        detail = "Only operators of the platform may waive consent. Leave needsConsent out, or send true."
        raise ApiError(403, "consent-waiver-not-allowed", "Consent waiver not allowed", detail)
    _check_scopes(principal, client.scopes)


def _not_possible(detail: str) -> ApiError:
    return ApiError(422, "client-not-possible", "Client not possible", detail)


def _check_scopes(principal: Principal, scopes: Iterable[str]) -> None:
    """Raise 403 where a tenant's administrator grants API scopes that it lacks itself."""
    missing = {scope for scope in scopes if scope.startswith("deeplens.")} - principal.scopes
    if principal.tenant_id and missing:
        detail = f"You lack {', '.join(sorted(missing))} yourself."
        raise ApiError(403, "insufficient-scope", "Insufficient scope", detail)


def _require[T](value: T | None, kind: str, name: str) -> T:
    if value is None:
        raise ApiError(404, f"{kind}-not-found", f"{kind.capitalize()} not found", f"There is no {kind} {name[:64]}.")
    return value


def _user(account: Account) -> UserView:
    return UserView.model_validate({**asdict(account), "user_id": account.id})


def _client(record: ClientRecord) -> dict[str, Any]:
    return {**asdict(record), "client_id": record.id}


def _with_secret(record: ClientRecord, secret: str | None) -> NewClientView:
    return NewClientView.model_validate({**_client(record), "client_secret": secret})


routers = [
    make(prefix, owner_of, *missing)
    for prefix, owner_of, missing in (
        ("/v1/admin/tenants/{tenant_id}", of_tenant, (404,)),
        ("/v1/admin", of_platform, ()),
    )
    for make in (users_router, clients_router)
]
