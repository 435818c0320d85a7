"""Users and OAuth clients: a tenant's, and the platform's own below /v1/admin."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deeplens.access.api_keys import digest
from deeplens.access.caller import check_grantable
from deeplens.access.model import Principal
from deeplens.access.scopes import API_SCOPES, allowed
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.fields import MAX_PAGE, After, PageLimit
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity import schemas
from deeplens.identity.change_user import ChangeUser
from deeplens.identity.client_keys.model import ClientKeys
from deeplens.identity.client_keys.ports import ClientKeyStore
from deeplens.identity.client_keys.replace import SetClientKeys
from deeplens.identity.model import PRIVATE_KEY_METHOD, SECRET_METHODS, Account, AccountChange, Client, User
from deeplens.identity.owners import OWNERS, Owner, check_change, require
from deeplens.identity.ports import Clients, Users
from deeplens.identity.recovery.invite import InviteUser
from deeplens.identity.recovery.ports import Invitations
from deeplens.identity.schemas import (
    ClientKeysRequest,
    ClientRequest,
    ClientView,
    NewClientView,
    UserChange,
    UserRequest,
    UserView,
)

AllClients = Injected[Clients]
AllKeys = Injected[ClientKeyStore]
SetKeys = Injected[SetClientKeys]


def users_router(prefix: str, owner_of: Callable[..., Owner], *missing: int) -> APIRouter:
    """Routes about the users of one owner."""
    router = APIRouter(prefix=f"{prefix}/users", tags=["users"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.get("", summary="Users", responses=responses(*missing))
    def list_users(
        owner: InPath, users: Injected[Users], after: After = "", limit: PageLimit = MAX_PAGE
    ) -> schemas.Users:
        """By address."""
        page = users.of_owner(owner.id, after, limit)
        following = page[-1].email if len(page) == limit else None
        return schemas.Users(users=[_user(account) for account in page], next=following)

    @router.post("", status_code=201, summary="Invite or create a user", responses=responses(409, 429, *missing))
    def create_user(
        owner: InPath, users: Injected[Users], invite: Injected[InviteUser], clock: Injected[Clock], user: UserRequest
    ) -> UserView:
        """Invites by mail, or creates with an operator's password. Nothing reveals an account of another tenant."""
        _check_roles(owner, user.roles)
        if user.password is None:
            return _user(invite(owner.id, user.email, user.name, user.roles, user.language))
        return _user(_create_user(owner, users, clock, user, user.password.get_secret_value()))

    @router.patch("/{user_id}", summary="Change a user", responses=responses(404, 409, *missing))
    def change_user(owner: InPath, change_user: Injected[ChangeUser], user_id: str, change: UserChange) -> UserView:
        """For callers with the user's scopes; all may disable. Disabling and a new password end all sessions."""
        _check_roles(owner, change.roles or [])
        changed = _account_change(change)
        changed_user = change_user(owner.id, user_id, changed, partial(check_change, owner, changed))
        return _user(require(changed_user, "user", user_id))

    @router.delete("/{user_id}", status_code=204, summary="Delete a user", responses=responses(404, *missing))
    def delete_user(owner: InPath, users: Injected[Users], invitations: Injected[Invitations], user_id: str) -> None:
        """Of an invited user the invitation is withdrawn: its link no longer works."""
        deleted = users.delete(owner.id, user_id) or invitations.withdraw(owner.id, user_id)
        require(deleted or None, "user", user_id)

    return router


def invitations_router(prefix: str, owner_of: Callable[..., Owner], *missing: int) -> APIRouter:
    """Routes about people whom one owner invited."""
    router = APIRouter(prefix=f"{prefix}/users", tags=["users"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.post(
        "/{user_id}/invitation",
        status_code=202,
        summary="Send an invitation again",
        responses=responses(404, 429, *missing),
    )
    def invite_again(owner: InPath, invite: Injected[InviteUser], user_id: str) -> UserView:
        """The new link is valid for seven days, and the old one no longer."""
        return _user(require(invite.again(owner.id, user_id), "invitation", user_id))

    return router


def clients_router(prefix: str, owner_of: Callable[..., Owner], *missing: int) -> APIRouter:
    """Routes about the OAuth clients of one owner."""
    router = APIRouter(prefix=f"{prefix}/clients", tags=["clients"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.get("", summary="OAuth clients", responses=responses(*missing))
    def list_clients(
        owner: InPath, clients: AllClients, keys: AllKeys, after: After = "", limit: PageLimit = MAX_PAGE
    ) -> schemas.Clients:
        """By id."""
        page = clients.of_owner(owner.id, after, limit)
        with_key = keys.having_keys(client.id for client in page)
        found = [_client_view(client, client.id in with_key) for client in page]
        return schemas.Clients(clients=found, next=page[-1].id if len(page) == limit else None)

    @router.post("", status_code=201, summary="Register a client", responses=responses(*missing))
    def create_client(
        owner: InPath, clients: AllClients, set_keys: SetKeys, clock: Injected[Clock], body: ClientRequest
    ) -> NewClientView:
        """Redirect URIs are compared as they are: https, http on this machine, or an app's own scheme.

        The port of ``http://127.0.0.1`` and ``http://[::1]`` is free (RFC 8252); that of ``localhost`` is not.

        Only operators of the platform register clients that skip the consent page.
        """
        _check_client(owner.principal, body)
        return _register(clients, set_keys, new_id("cli", clock.now()), owner.id, body)

    @router.delete("/{client_id}", status_code=204, summary="Delete a client", responses=responses(404, *missing))
    def delete_client(owner: InPath, clients: AllClients, client_id: str) -> None:
        require(clients.delete(owner.id, client_id) or None, "client", client_id)

    return router


def client_credentials_router(prefix: str, owner_of: Callable[..., Owner], *missing: int) -> APIRouter:
    """Routes about the secrets and keys of one owner's clients."""
    router = APIRouter(prefix=f"{prefix}/clients/{{client_id}}", tags=["clients"])
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.put("/keys", summary="Replace a client's public keys", responses=responses(404, *missing))
    def replace_keys(
        owner: InPath, clients: AllClients, set_keys: SetKeys, client_id: str, body: ClientKeysRequest
    ) -> ClientView:
        """The old keys, or the secret that the client had, end at once. For callers with the client's scopes."""
        client = _own_client(owner, clients, client_id)
        keys = ClientKeys(client.id, body.jwks, body.jwks_uri)
        set_keys.check(keys, client.confidential, PRIVATE_KEY_METHOD)
        set_keys(client, keys)
        return _client_view(client, with_key=True)

    @router.post("/rotate", summary="Give a client a new secret", responses=responses(404, *missing))
    def rotate_secret(owner: InPath, clients: AllClients, keys: AllKeys, client_id: str) -> NewClientView:
        """The old secret ends at once. A caller can rotate only the secrets of clients whose scopes they have."""
        return _rotate_secret(owner, clients, keys, client_id)

    return router


def _create_user(owner: Owner, users: Users, clock: Clock, user: UserRequest, password: str) -> Account:
    if owner.principal.tenant_id:
        # They would learn from the answer, or by signing in, whether the address has an account of another tenant.
        detail = "Leave password out: the person is invited by mail, and chooses one."
        raise ApiError(403, "password-not-allowed", "Password not allowed", detail)
    fresh = User(new_id("usr", clock.now()), owner.id, user.email, user.name, tuple(user.roles))
    account = users.create(fresh, password)
    if account is None:
        raise ApiError(409, "email-taken", "Address taken", "An account with this address exists.")
    return account


def _check_roles(owner: Owner, roles: list[Any]) -> None:
    """Raise 422 for roles that the owner's users cannot have, 403 for scopes that the administrator lacks."""
    if roles and ("platform_admin" in roles) != (owner.id is None):
        detail = "platform_admin is for users of the platform, and these have no other role."
        raise ApiError(422, "role-not-possible", "Role not possible here", detail)
    if owner.id is None and len(roles) > 1:
        raise ApiError(422, "role-not-possible", "Role not possible here", "platform_admin includes the others.")
    check_grantable(owner.principal, allowed(roles, API_SCOPES))


def _account_change(change: UserChange) -> AccountChange:
    password = change.password.get_secret_value() if change.password else None
    return AccountChange(change.name, change.roles, password, change.status)


def _register(
    clients: Clients, set_keys: SetClientKeys, client_id: str, owner: str | None, body: ClientRequest
) -> NewClientView:
    secret = secrets.token_urlsafe(32) if body.confidential else None
    client = _client(client_id, owner, body, secret)
    keys = ClientKeys(client.id, body.jwks, body.jwks_uri)
    with_key = set_keys.check(keys, body.confidential, body.token_endpoint_auth_method)
    clients.save(client)
    if with_key:
        set_keys(client, keys)
    return _new_client_view(client, with_key, secret)


def _own_client(owner: Owner, clients: Clients, client_id: str) -> Client:
    """The owner's client, whose credential the administrator may replace."""
    found = clients.find(client_id)
    client = require(found if found and found.tenant_id == owner.id else None, "client", client_id)
    check_grantable(owner.principal, client.scopes)
    return client


def _rotate_secret(owner: Owner, clients: Clients, keys: ClientKeyStore, client_id: str) -> NewClientView:
    _own_client(owner, clients, client_id)
    if keys.find(client_id) is not None:
        raise _not_possible("The client authenticates with a key. Replace it with PUT …/keys.")
    secret = secrets.token_urlsafe(32)
    client = require(clients.replace_secret(owner.id, client_id, digest(secret)), "client", client_id)
    return _new_client_view(client, False, secret)


def _client_view(client: Client, with_key: bool) -> ClientView:
    return view(ClientView, client, client_id=client.id, token_endpoint_auth_method=_method(client, with_key))


def _new_client_view(client: Client, with_key: bool, secret: str | None) -> NewClientView:
    method = _method(client, with_key)
    shown = None if with_key else secret
    return view(NewClientView, client, client_id=client.id, token_endpoint_auth_method=method, client_secret=shown)


def _method(client: Client, with_key: bool) -> str:
    return PRIVATE_KEY_METHOD if with_key else SECRET_METHODS[0] if client.confidential else "none"


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
    check_grantable(principal, client.scopes)


def _not_possible(detail: str) -> ApiError:
    return ApiError(422, "client-not-possible", "Client not possible", detail)


def _client(client_id: str, owner: str | None, body: ClientRequest, secret: str | None) -> Client:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body}
    for name in ("confidential", "token_endpoint_auth_method", "jwks", "jwks_uri"):
        del values[name]
    return Client(id=client_id, tenant_id=owner, secret_sha256=digest(secret) if secret else None, **values)


def _user(account: Account) -> UserView:
    return view(UserView, account, user_id=account.id)


routers = [
    make(prefix, owner_of, *missing)
    for prefix, owner_of, missing in OWNERS
    for make in (users_router, invitations_router, clients_router, client_credentials_router)
]
