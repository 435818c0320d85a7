"""/v1/notifications: notifications over HTTP about customer-owned storage, from Event Grid, EventBridge and MinIO."""

import hashlib
import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query
from starlette.responses import Response

from deeplens.errors import ApiError
from deeplens.events.ids import with_follow_up_id
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.stores.model import RegisteredStores, TenantStore
from deeplens.stores.notifications import StoreNotifications, objects_in, validation_code

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])


def authenticated_store(
    registered: Injected[RegisteredStores],
    tenant_id: str,
    store_id: str,
    secret: Annotated[str | None, Query(description="the store's eventSecret", max_length=200)] = None,
    authorization: Annotated[str | None, Header(description="or `Bearer` and the eventSecret", max_length=300)] = None,
) -> TenantStore:
    """Return the store that the secret belongs to. Raises 404 for an unknown store and for a wrong secret."""
    store = registered.find(tenant_id, store_id)
    given = secret or (authorization or "").removeprefix("Bearer ")
    digest = hashlib.sha256(given.encode()).hexdigest()
    if store is None or not hmac.compare_digest(digest, store.event_secret_sha256):
        raise ApiError(404, "store-not-found", "Store not found", "There is no such store, or the secret is wrong.")
    return store


Store = Annotated[TenantStore, Depends(authenticated_store)]


@router.post("/{tenant_id}/{store_id}", summary="Objects of a store have changed", responses=responses(404))
def notify(
    store: Store, notifications: Injected[StoreNotifications], publish: Publishing, payload: Annotated[Any, Body()]
) -> dict[str, Any]:
    """Accepts Event Grid's schema, CloudEvents, EventBridge's events of S3, and S3's records as MinIO sends them.

    Each object is then looked up.
    """
    code = validation_code(payload)
    if code is not None:
        return {"validationResponse": code}
    events = notifications.note(store, objects_in(payload))
    publish(
        [
            with_follow_up_id(event, "store-objects", f"{store.id}/{event.requested_at.isoformat()}", number)
            for number, event in enumerate(events)
        ]
    )
    return {"accepted": sum(len(event.keys or []) for event in events)}


def allowed_origin(
    origin: Annotated[str | None, Header(alias="WebHook-Request-Origin", max_length=300)] = None,
) -> str:
    return origin or "*"


@router.options("/{tenant_id}/{store_id}", summary="CloudEvents' handshake", responses=responses(404))
def handshake(store: Store, origin: Annotated[str, Depends(allowed_origin)]) -> Response:  # noqa: ARG001 - for its secret
    return Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})
