"""Scopes, and the table from roles to scopes."""

from collections.abc import Iterable

READ, WRITE, ADMIN = "deeplens.api.read", "deeplens.api.write", "deeplens.api.admin"
API_SCOPES = (READ, WRITE, ADMIN)
IDENTITY_SCOPES = ("openid", "profile", "offline_access")
SCOPES = (*IDENTITY_SCOPES, *API_SCOPES)

ROLES: dict[str, frozenset[str]] = {
    "platform_admin": frozenset({READ, WRITE, ADMIN}),
    "tenant_admin": frozenset({READ, WRITE, ADMIN}),
    "editor": frozenset({READ, WRITE}),
    "viewer": frozenset({READ}),
}


def allowed(roles: Iterable[str], requested: Iterable[str]) -> list[str]:
    """The requested scopes that a user with these roles may grant, each once, in the order of ``SCOPES``."""
    granted = frozenset(IDENTITY_SCOPES).union(*(ROLES.get(role, frozenset()) for role in roles))
    return [scope for scope in SCOPES if scope in granted.intersection(requested)]


def checked_scopes(scopes: Iterable[str], known: Iterable[str] = API_SCOPES) -> list[str]:
    """Each scope once, in order. Raises ``ValueError`` for an unknown one."""
    chosen = sorted(set(scopes))
    if unknown := set(chosen) - set(known):
        raise ValueError(f"unknown scopes {sorted(unknown)}; known are {', '.join(known)}")
    return chosen


def checked_roles(roles: Iterable[str]) -> list[str]:
    """Each role once, in order. Raises ``ValueError`` for an unknown one."""
    chosen = sorted(set(roles))
    if unknown := set(chosen) - set(ROLES):
        raise ValueError(f"unknown roles {sorted(unknown)}; known are {', '.join(ROLES)}")
    return chosen
