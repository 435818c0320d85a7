"""Clients for buckets of tenants' own accounts: their role or their keys, and the owner that they expect."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any

from botocore.credentials import Credentials

from deeplens.egress.http import guard
from deeplens.egress.rules import EgressRules
from deeplens.errors import TenantStoreDenied, TenantStoreUnavailable
from deeplens.settings import Settings
from deeplens.storage.scope import AssumedRole, expect_owner
from deeplens.stores.model import TenantStore, external_id

TRANSIENT_CODES = {"Throttling", "ServiceUnavailable", "InternalFailure"}


class TenantRole(AssumedRole):
    """Credentials of a role in the tenant's account; a refusal is the tenant's own fault."""

    def failure(self, code: str | None, message: str) -> Exception:
        if code is None or code in TRANSIENT_CODES:
            return TenantStoreUnavailable(message)
        return TenantStoreDenied("the role could not be assumed", "AssumeRole")


class StrangersRole(TenantRole):
    """A tenant's role that somebody asks for who may not have it; STS's refusal raises ``PermissionError``."""

    def failure(self, code: str | None, message: str) -> Exception:
        return PermissionError(message) if code == "AccessDenied" else super().failure(code, message)


def require_external_id(own: Settings, store: TenantStore) -> None:
    """Check that a store's role can be assumed with its external id alone.

    Otherwise another tenant could name the role, and DeepLens would read the bucket for it.

    Raises
    ------
    TenantStoreDenied
        The role answers without an external id, or with one that is not this tenant's.
    TenantStoreUnavailable
    """
    from deeplens.aws.clients import client

    stranger = token_hex(8)
    # Nobody, another tenant, and one whose id begins like this one's, which a trust policy with a wildcard lets in.
    for other in ({}, {"ExternalId": external_id(f"tenant_{stranger}")}, {"ExternalId": store.external_id + stranger}):
        with suppress(PermissionError):
            StrangersRole(client("sts", own), _request(store) | other).get_frozen_credentials()
            raise TenantStoreDenied("the role does not insist on the external id", "ExternalId")


def tenant_s3_client(
    own: Settings, store: TenantStore, given: Mapping[str, str], rules: EgressRules
) -> tuple[Any, Callable[[], float]]:
    """A client of its own for a registered store, and how long what it signs is good for, in seconds."""
    from deeplens.aws.clients import client, scoped_client

    request = _request(store) | {"ExternalId": store.external_id}
    role = TenantRole(client("sts", own), request) if store.role_arn else None
    credentials = role or Credentials(given["accessKeyId"], given["secretAccessKey"], given.get("sessionToken"))
    s3 = scoped_client("s3", own, credentials, store.endpoint or "", store.region or "")
    if store.endpoint:
        guard(s3, rules)
    if store.bucket_owner:
        expect_owner(s3, store.bucket_owner)
    return s3, role.seconds_left if role else lambda: math.inf


def _request(store: TenantStore) -> dict[str, Any]:
    return {"RoleArn": store.role_arn, "RoleSessionName": store.tenant_id}
