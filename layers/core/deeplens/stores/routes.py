"""/v1/admin/tenants/{id}/stores: customer-owned storage of a tenant."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images.model import is_video
from deeplens.maintenance.schemas import MaintenanceView, maintenance_view
from deeplens.maintenance.slices import StartMaintenance
from deeplens.stores.model import RegisteredStores, StoreObjects, StorePlatform, TenantStore
from deeplens.stores.observe import DecideRemovals
from deeplens.stores.register import RegisterStores
from deeplens.stores.schemas import (
    NewStoreView,
    RemovalsRequest,
    RemovalsView,
    RotateRequest,
    StoreList,
    StoreRequest,
    StoreView,
)
from deeplens.tenants.model import Tenant

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/stores", tags=["stores"])


def store_in_path(tenant: Administrator, registered: Injected[RegisteredStores], store_id: str) -> TenantStore:
    found = registered.find(tenant.id, store_id)
    if found is None:
        raise ApiError(404, "store-not-found", "Store not found", f"{tenant.id} has no store {store_id[:64]}.")
    return found


InPath = Annotated[TenantStore, Depends(store_in_path)]
Removals = Injected[DecideRemovals]
Register = Injected[RegisterStores]
Platform = Injected[StorePlatform]


@router.get("", summary="Stores of a tenant", responses=responses(404))
def list_stores(tenant: Administrator, registered: Injected[RegisteredStores], platform: Platform) -> StoreList:
    return StoreList(stores=[_view(StoreView, store, platform) for store in registered.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Register a store", responses=responses(404, 409))
def register_store(tenant: Administrator, stores: Register, platform: Platform, request: StoreRequest) -> NewStoreView:
    """The store is probed. The answer names missing permissions, with a snippet to paste before you probe again."""
    store, secret = stores.register(tenant, request)
    return _view(NewStoreView, store, platform, event_secret=secret)


@router.get("/{store_id}", summary="One store", responses=responses(404))
def store_detail(
    tenant: Administrator, store: InPath, objects: Injected[StoreObjects], platform: Platform
) -> StoreView:
    return _view(StoreView, store, platform, objects=objects.counts(tenant, store.id))


@router.delete("/{store_id}", status_code=204, summary="Remove a store", responses=responses(404, 409))
def remove_store(tenant: Administrator, store: InPath, stores: Register) -> None:
    """Removes its credentials as well. No object is deleted, and its images stay, without their originals."""
    stores.remove(tenant, store)


@router.post("/{store_id}/probe", summary="Probe a store again", responses=responses(404, 409))
def probe_store(tenant: Administrator, store: InPath, stores: Register, platform: Platform) -> StoreView:
    return _view(StoreView, stores.probe(tenant, store), platform)


@router.post("/{store_id}/rotate", summary="Replace the credentials", responses=responses(404, 409))
def rotate_store(
    tenant: Administrator, store: InPath, stores: Register, platform: Platform, request: RotateRequest
) -> StoreView:
    """The new credentials are tested first. They are in use everywhere within ten seconds."""
    return _view(StoreView, stores.rotate(tenant, store, request.credentials), platform)


@router.post("/{store_id}/scan", status_code=202, summary="Scan a store", responses=responses(404, 409))
def scan_store(
    tenant: Administrator, store: InPath, start: Injected[StartMaintenance], publish: Publishing
) -> MaintenanceView:
    """Lists the store, accepts new and changed objects, and handles removed ones. One scan per tenant at a time."""
    if store.state != "ready" or store.mode != "reference":
        detail = "Only a ready store in reference mode is scanned; its checks say what is missing."
        raise ApiError(409, "store-not-ready", "Store not ready", detail)
    run, events = start(tenant, "store-scan", dry_run=False, cursor=f"{store.id}:list:")
    publish.best_effort(events)
    return maintenance_view(run)


@router.get("/{store_id}/removals", summary="Removed objects that wait for a decision", responses=responses(404))
def list_removals(tenant: Administrator, store: InPath, removals: Removals) -> RemovalsView:
    """Lists the first 200 by key."""
    return _waiting(removals, tenant, store)


@router.post("/{store_id}/removals", summary="Decide about removed objects", responses=responses(404))
def decide_removals(
    tenant: Administrator, store: InPath, removals: Removals, publish: Publishing, request: RemovalsRequest
) -> RemovalsView:
    """Applies to the listed objects; the answer lists the next ones that wait."""
    objects = removals.waiting(tenant, store)
    if request.decision == "keep":
        removals.mark(tenant, store, objects, "kept")
    else:
        publish(removals.delete(tenant, store, objects))
        removals.mark(tenant, store, objects, "removed")
    return _waiting(removals, tenant, store)


def _waiting(removals: DecideRemovals, tenant: Tenant, store: TenantStore) -> RemovalsView:
    waiting = removals.waiting(tenant, store)
    named = [("videoId" if is_video(known.image_id) else "imageId", known) for known in waiting]
    return RemovalsView(removals=[{"key": known.key, name: known.image_id} for name, known in named])


def _view[V: StoreView](schema: type[V], store: TenantStore, platform: StorePlatform, **fields: Any) -> V:
    followed_over_http = store.mode == "reference" and store.kind != "nfs"
    external_id = store.external_id if store.kind == "s3" else None
    event_url = platform.event_url(store) if followed_over_http else None
    return view(schema, store, store_id=store.id, external_id=external_id, event_url=event_url, **fields)
