"""/v1/notifications: what stores of tenants' own tell over HTTP, as Azure Event Grid and MinIO do."""

import hashlib
import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query
from starlette.responses import Response

from deeplens.common.outgoing import OutgoingMessage
from deeplens.errors import ApiError, BrokerUnavailable
from deeplens.events.ids import follow_up_id
from deeplens.http.dependencies import ApiParts, Parts
from deeplens.http.problems import responses
from deeplens.stores.messages import keys_of, looks_at, objects_in, validation_code
from deeplens.stores.model import TenantStore

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])
Secret = Annotated[str | None, Query(description="the store's eventSecret", max_length=200)]
Bearer = Annotated[str | None, Header(description="or `Bearer` and the eventSecret", max_length=300)]


@router.post("/{tenant_id}/{store_id}", summary="Objects of a store have changed", responses=responses(404))
def notify(
    parts: Parts,
    tenant_id: str,
    store_id: str,
    payload: Annotated[Any, Body()],
    secret: Secret = None,
    authorization: Bearer = None,
) -> dict[str, Any]:
    """Event Grid's schema, CloudEvents, or S3's records as MinIO sends them. Each object is looked up as it is now."""
    store = _store(parts, tenant_id, store_id, secret or (authorization or "").removeprefix("Bearer "))
    code = validation_code(payload)
    if code is not None:
        return {"validationResponse": code}
    keys = keys_of(store, objects_in(payload))
    _publish(parts, store, keys)
    return {"accepted": len(keys)}


@router.options("/{tenant_id}/{store_id}", summary="CloudEvents' handshake", responses=responses(404))
def handshake(
    parts: Parts,
    tenant_id: str,
    store_id: str,
    secret: Secret = None,
    authorization: Bearer = None,
    origin: Annotated[str | None, Header(alias="WebHook-Request-Origin", max_length=300)] = None,
) -> Response:
    _store(parts, tenant_id, store_id, secret or (authorization or "").removeprefix("Bearer "))
    return Response(headers={"WebHook-Allowed-Origin": origin or "*", "WebHook-Allowed-Rate": "*"})


def _store(parts: ApiParts, tenant_id: str, store_id: str, secret: str) -> TenantStore:
    """The store whose secret it is; without it, none is there."""
    store = parts.registered_stores.find(tenant_id, store_id)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if store is None or not hmac.compare_digest(digest, store.event_secret_sha256):
        raise ApiError(404, "store-not-found", "Store not found", "There is no such store, or its secret is another.")
    return store


def _publish(parts: ApiParts, store: TenantStore, keys: list[str]) -> None:
    now = parts.clock.now()
    parts.registered_stores.notified(store.id, now)
    source = f"{store.id}/{now.isoformat()}"
    messages = [
        OutgoingMessage(event, follow_up_id("store-objects", source, number))
        for number, event in enumerate(looks_at(store, keys, now))
    ]
    if messages and not all(parts.publisher.publish(messages)):
        raise BrokerUnavailable("the notification was not delivered", retry_after_seconds=2)
