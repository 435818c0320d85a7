"""Users and OAuth clients: a tenant's, and the platform's own below /v1/admin."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator, AuthenticatedAdministrator, Operator
from deeplens.access.principal import Principal
from deeplens.access.scopes import allowed
from deeplens.common.ids import new_id
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin
from deeplens.http.problems import responses
from deeplens.identity.accounts import Account, ClientRecord
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


def users_router(prefix: str, owner_of: Callable[..., str | None], *missing: int) -> APIRouter:
    """Routes about the users of one owner: a tenant's id, or None for the platform's own."""
    router = APIRouter(prefix=f"{prefix}/users", tags=["users"])
    Owner = Annotated[str | None, Depends(owner_of)]

    @router.get("", summary="Users", responses=responses(*missing))
    def list_users(parts: Admin, owner: Owner) -> Users:
        return Users(users=[_user(one) for one in parts.accounts.users(owner)])

    @router.post("", status_code=201, summary="Create a user", responses=responses(409, *missing))
    def create_user(parts: Admin, owner: Owner, principal: AuthenticatedAdministrator, wanted: UserRequest) -> UserView:
        """An address signs in to one account of the platform."""
        _check_roles(principal, owner, wanted.roles)
        now = parts.clock.now()
        account = Account(new_id("usr", now), owner, wanted.email, wanted.name, tuple(wanted.roles), "active", now)
        created = parts.accounts.create_user(account, wanted.password.get_secret_value())
        if created is None:
            raise ApiError(409, "email-taken", "Address taken", "An account with this address exists.")
        return _user(created)

    @router.patch("/{user_id}", summary="Change a user", responses=responses(404, *missing))
    def change_user(
        parts: Admin, owner: Owner, principal: AuthenticatedAdministrator, user_id: str, wanted: UserChange
    ) -> UserView:
        """A new password, and disabling, end the user's sessions and refresh tokens."""
        _check_roles(principal, owner, wanted.roles or [])
        password = wanted.password.get_secret_value() if wanted.password else None
        found = parts.accounts.change_user(
            owner, user_id, wanted.name, wanted.roles, password, wanted.status, parts.clock.now()
        )
        return _user(_found(found, "user", user_id))

    @router.delete("/{user_id}", status_code=204, summary="Delete a user", responses=responses(404, *missing))
    def delete_user(parts: Admin, owner: Owner, user_id: str) -> None:
        _found(parts.accounts.delete_user(owner, user_id) or None, "user", user_id)

    return router


def clients_router(prefix: str, owner_of: Callable[..., str | None], *missing: int) -> APIRouter:
    """Routes about the OAuth clients of one owner."""
    router = APIRouter(prefix=f"{prefix}/clients", tags=["clients"])
    Owner = Annotated[str | None, Depends(owner_of)]

    @router.get("", summary="OAuth clients", responses=responses(*missing))
    def list_clients(parts: Admin, owner: Owner) -> Clients:
        return Clients(clients=[ClientView(**_client(one)) for one in parts.accounts.clients(owner)])

    @router.post("", status_code=201, summary="Register a client", responses=responses(*missing))
    def create_client(
        parts: Admin, owner: Owner, principal: AuthenticatedAdministrator, wanted: ClientRequest
    ) -> NewClientView:
        """Redirect URIs are compared as they are: https, http on this machine, or an app's own scheme.

        Only operators of the platform register clients that skip the consent page.
        """
        _check_client(wanted)
        if principal.tenant_id and not wanted.needs_consent:
            raise _consent_needed()
        if lacking := _api_scopes(wanted.scopes) - principal.scopes if principal.tenant_id else set():
            raise _lacking(lacking)
        record = ClientRecord(
            new_id("cli", parts.clock.now()), owner, wanted.name, wanted.confidential, tuple(wanted.redirect_uris),
            tuple(wanted.post_logout_redirect_uris), tuple(wanted.grants), tuple(wanted.scopes), wanted.needs_consent,
        )  # fmt: skip
        secret = parts.accounts.create_client(record)
        return NewClientView.model_validate({**_client(record), "client_secret": secret})

    @router.post("/{client_id}/rotate", summary="Give a client a new secret", responses=responses(404, *missing))
    def rotate_secret(parts: Admin, owner: Owner, client_id: str) -> NewClientView:
        """The old secret ends at once."""
        found = _found(parts.accounts.new_secret(owner, client_id), "client", client_id)
        return NewClientView.model_validate({**_client(found[0]), "client_secret": found[1]})

    @router.delete("/{client_id}", status_code=204, summary="Delete a client", responses=responses(404, *missing))
    def delete_client(parts: Admin, owner: Owner, client_id: str) -> None:
        _found(parts.accounts.delete_client(owner, client_id) or None, "client", client_id)

    return router


def _check_roles(principal: Principal, owner: str | None, roles: list[Any]) -> None:
    """A tenant's users are of that tenant; nobody gives scopes that they lack."""
    if roles and ("platform_admin" in roles) != (owner is None):
        detail = "platform_admin is for users of the platform, and these have no other role."
        raise ApiError(422, "role-not-possible", "Role not possible here", detail)
    if owner is None and len(roles) > 1:
        raise ApiError(422, "role-not-possible", "Role not possible here", "platform_admin includes the others.")
    given = _api_scopes(allowed(roles, ("deeplens.api.read", "deeplens.api.write", "deeplens.api.admin")))
    if principal.tenant_id and (lacking := given - principal.scopes):
        raise _lacking(lacking)


def _check_client(wanted: ClientRequest) -> None:
    if "client_credentials" in wanted.grants and not wanted.confidential:
        raise ApiError(422, "client-not-possible", "Client not possible", "client_credentials needs a secret.")
    if ("authorization_code" in wanted.grants) != bool(wanted.redirect_uris):
        detail = "authorization_code needs a redirect URI, and only that grant has one."
        raise ApiError(422, "client-not-possible", "Client not possible", detail)
    if "refresh_token" in wanted.grants and "authorization_code" not in wanted.grants:
        raise ApiError(422, "client-not-possible", "Client not possible", "refresh_token needs authorization_code.")


def _api_scopes(scopes: Any) -> set[str]:
    return {scope for scope in scopes if scope.startswith("deeplens.")}


def _lacking(scopes: set[str]) -> ApiError:
    detail = f"You lack {', '.join(sorted(scopes))} yourself."
    return ApiError(403, "insufficient-scope", "Insufficient scope", detail)


def _consent_needed() -> ApiError:
    detail = "Only operators of the platform may waive consent. Leave needsConsent out, or send true."
    return ApiError(403, "consent-waiver-not-allowed", "Consent waiver not allowed", detail)


def _found[T](value: T | None, kind: str, shown: str) -> T:
    if value is None:
        raise ApiError(404, f"{kind}-not-found", f"{kind.capitalize()} not found", f"There is no {kind} {shown[:64]}.")
    return value


def _user(account: Account) -> UserView:
    return UserView(
        user_id=account.id,
        email=account.email,
        name=account.name,
        roles=list(account.roles),
        status=account.status,
        created_at=account.created_at,
    )


def _client(record: ClientRecord) -> dict[str, Any]:
    return {
        "client_id": record.id,
        "name": record.name,
        "confidential": record.confidential,
        "grants": list(record.grants),
        "scopes": list(record.scopes),
        "redirect_uris": list(record.redirect_uris),
        "post_logout_redirect_uris": list(record.post_logout_redirect_uris),
        "needs_consent": record.needs_consent,
    }


routers = [
    make(prefix, owner_of, *missing)
    for prefix, owner_of, missing in (
        ("/v1/admin/tenants/{tenant_id}", of_tenant, (404,)),
        ("/v1/admin", of_platform, ()),
    )
    for make in (users_router, clients_router)
]
