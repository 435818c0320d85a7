"""Accounts and clients as administrators see them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in. Those without a tenant administer the platform."""

    id: str
    tenant_id: str | None
    email: str
    name: str
    roles: tuple[str, ...]
    status: Literal["active", "disabled"]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """An OAuth client without its secret."""

    id: str
    tenant_id: str | None
    name: str
    confidential: bool
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    needs_consent: bool
