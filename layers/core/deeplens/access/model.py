"""Principals, and what the audit log records of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class SignedIn:
    """How the person behind a token signed in: when, and how strongly (``acr``)."""

    at: datetime
    acr: str


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of an API, authenticated by an API key or a bearer token.

    Attributes
    ----------
    subject : ``key:<prefix>`` of a key; of a token the user's id, or the client's when it acts for itself.
    client_id : the OAuth client that holds the token.
    signed_in : of a person's token; None for API keys and for clients that act for themselves.
    """

    tenant_id: str | None
    subject: str
    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()
    client_id: str | None = None
    signed_in: SignedIn | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A write that a principal requested.

    Attributes
    ----------
    tenant_id : the tenant that the write concerns.
    action : method and route, e.g. ``POST /v1/admin/tenants``.
    target : the path that was called.
    detail : the request's body without secrets, or the SHA-256 of a body that is too large to keep.
    network_address : where the request came from.
    """

    principal: Principal
    tenant_id: str | None
    action: str
    target: str
    detail: Any
    request_id: str
    network_address: str | None = None
