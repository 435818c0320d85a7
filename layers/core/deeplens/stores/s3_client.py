"""Clients for buckets of tenants' own accounts: their role or their keys, and the owner that they expect."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from deeplens.egress.http import guard
from deeplens.egress.rules import EgressRules
from deeplens.errors import TenantStoreDenied, TenantStoreUnavailable
from deeplens.settings import Settings
from deeplens.storage.scope import AssumedRole
from deeplens.stores.model import TenantStore

PASSING = {"Throttling", "ServiceUnavailable", "InternalFailure"}


class TenantRole(AssumedRole):
    """Credentials of a role in the tenant's account; a refusal is the tenant's own fault."""

    def refused(self, error: ClientError) -> Exception:
        code = error.response["Error"]["Code"]
        if code in PASSING:
            return TenantStoreUnavailable(f"STS: {code}")
        return TenantStoreDenied("the role could not be assumed", "AssumeRole")

    def unreachable(self, error: BotoCoreError) -> Exception:
        return TenantStoreUnavailable(f"STS: {type(error).__name__}")


def tenant_s3_client(
    own: Settings, store: TenantStore, given: Mapping[str, str], rules: EgressRules
) -> tuple[Any, Callable[[], float]]:
    """A client of its own for a registered store, and how long what it signs is good for, in seconds."""
    from deeplens.aws.clients import client

    if store.role_arn:
        role = TenantRole(
            client("sts", own),
            {"RoleArn": store.role_arn, "RoleSessionName": store.tenant_id, "ExternalId": store.external_id},
        )
        return _client(own, store, role, rules), role.seconds_left
    keys = Credentials(given["accessKeyId"], given["secretAccessKey"], given.get("sessionToken"))
    return _client(own, store, keys, rules), lambda: math.inf


def _client(own: Settings, store: TenantStore, credentials: Credentials, rules: EgressRules) -> Any:
    from deeplens.aws.clients import scoped_client

    s3 = scoped_client("s3", own, credentials, store.endpoint or "", store.region or "")
    if store.endpoint:
        guard(s3, rules)
    if store.bucket_owner:
        s3.meta.events.register("provide-client-params.s3", _expecting(store.bucket_owner))
    return s3


def _expecting(owner: str) -> Callable[..., dict[str, Any] | None]:
    """Have every call name the account that the bucket has to belong to: a name may pass to somebody else."""

    def add(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any] | None:
        members = model.input_shape.members if model.input_shape else {}
        return {**params, "ExpectedBucketOwner": owner} if "ExpectedBucketOwner" in members else None

    return add
