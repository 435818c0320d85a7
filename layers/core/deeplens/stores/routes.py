"""/v1/admin/tenants/{id}/stores: where a tenant keeps its own objects."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deeplens.access.caller import Administrator
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses
from deeplens.maintenance.routes import shown as shown_run
from deeplens.maintenance.schemas import MaintenanceView
from deeplens.maintenance.start import StartMaintenance
from deeplens.stores.model import TenantStore
from deeplens.stores.register import RegisterStores, event_url
from deeplens.stores.schemas import (
    CheckView,
    NewStoreView,
    RemovalsRequest,
    RemovalsView,
    RotateRequest,
    StoreList,
    StoreRequest,
    StoreView,
)
from deeplens.tenants.model import Tenant
from deeplens.videos.model import is_video

MOST_REMOVALS = 200

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/stores", tags=["stores"])


def store_in_path(parts: Admin, tenant: Administrator, store_id: str) -> TenantStore:
    found = parts.registered_stores.find(tenant.id, store_id)
    if found is None:
        raise ApiError(404, "store-not-found", "Store not found", f"{tenant.id} has no store {store_id[:64]}.")
    return found


InPath = Annotated[TenantStore, Depends(store_in_path)]


@router.get("", summary="Stores of a tenant", responses=responses(404))
def list_stores(parts: Admin, tenant: Administrator) -> StoreList:
    return StoreList(stores=[StoreView(**shown(parts, one)) for one in parts.registered_stores.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Register a store", responses=responses(404, 409))
def register_store(parts: Admin, tenant: Administrator, wanted: StoreRequest) -> NewStoreView:
    """It is probed; the answer says what is missing, with a snippet to paste, and what to probe again for."""
    store, secret = RegisterStores(parts).register(tenant, wanted)
    return NewStoreView(**shown(parts, store), event_secret=secret)


@router.get("/{store_id}", summary="One store", responses=responses(404))
def store_detail(parts: Admin, tenant: Administrator, store: InPath) -> StoreView:
    return StoreView(**shown(parts, store), objects=parts.store_objects.counts(tenant, store.id))


@router.delete("/{store_id}", status_code=204, summary="Forget a store", responses=responses(404, 409))
def remove_store(parts: Admin, tenant: Administrator, store: InPath) -> None:
    """With its credentials. Nothing is removed from the store, and its images stay, without their originals."""
    RegisterStores(parts).remove(tenant, store)


@router.post("/{store_id}/probe", summary="Probe a store again", responses=responses(404, 409))
def probe_store(parts: Admin, tenant: Administrator, store: InPath) -> StoreView:
    return StoreView(**shown(parts, RegisterStores(parts).probe(tenant, store)))


@router.post("/{store_id}/rotate", summary="Replace the credentials", responses=responses(404, 409))
def rotate_store(parts: Admin, tenant: Administrator, store: InPath, wanted: RotateRequest) -> StoreView:
    """They are tried first. In use everywhere within ten seconds."""
    return StoreView(**shown(parts, RegisterStores(parts).rotate(tenant, store, wanted.credentials)))


@router.post("/{store_id}/scan", status_code=202, summary="Scan a store", responses=responses(404, 409))
def scan_store(parts: Admin, tenant: Administrator, store: InPath) -> MaintenanceView:
    """List it, accept what is new or changed, and follow what is gone. One at a time per tenant."""
    if store.state != "ready" or store.mode != "reference":
        detail = "Only a ready store in reference mode is scanned; its checks say what is missing."
        raise ApiError(409, "store-not-ready", "Store not ready", detail)
    start = StartMaintenance(parts.maintenance_runs, parts.publisher, parts.sweep_grace, parts.clock)
    return shown_run(start(tenant, "store-scan", dry_run=False, cursor=f"{store.id}:list:"))


@router.get("/{store_id}/removals", summary="Removed objects that wait for a decision", responses=responses(404))
def list_removals(parts: Admin, tenant: Administrator, store: InPath) -> RemovalsView:
    """The first 200 by key."""
    found = parts.store_objects.in_state(tenant, store.id, "asked", MOST_REMOVALS)
    named = [("videoId" if is_video(one.image_id) else "imageId", one) for one in found]
    return RemovalsView(removals=[{"key": one.key, name: one.image_id} for name, one in named])


@router.post("/{store_id}/removals", summary="Decide about removed objects", responses=responses(404))
def decide_removals(parts: Admin, tenant: Administrator, store: InPath, wanted: RemovalsRequest) -> RemovalsView:
    """Of those that are listed; the answer lists what waits behind them."""
    decide(parts, tenant, store, wanted.decision)
    return list_removals(parts, tenant, store)


def decide(parts: AdminParts, tenant: Tenant, store: TenantStore, decision: str) -> None:
    from dataclasses import replace

    from deeplens.images.delete import Delete
    from deeplens.videos.delete import DeleteVideo

    found = parts.store_objects.in_state(tenant, store.id, "asked", MOST_REMOVALS)
    if decision == "keep":
        parts.store_objects.save(tenant, store.id, [replace(one, state="kept") for one in found])
        return
    delete = Delete(parts.images, parts.publisher, parts.clock)
    delete_video = DeleteVideo(parts.videos, parts.publisher, parts.clock)
    for one in found:
        parts.store_objects.save(tenant, store.id, [replace(one, state="removing")])
        if is_video(one.image_id):
            delete_video(tenant, one.image_id, None)
        else:
            delete(tenant, one.image_id)
        parts.store_objects.save(tenant, store.id, [replace(one, state="removed")])


def shown(parts: AdminParts, store: TenantStore) -> dict[str, Any]:
    same = (
        "kind",
        "mode",
        "container",
        "prefix",
        "endpoint",
        "region",
        "role_arn",
        "bucket_owner",
        "removal",
        "state",
        "created_at",
        "credentials_version",
        "notified_at",
    )
    return {name: getattr(store, name) for name in same} | {
        "store_id": store.id,
        "external_id": store.external_id if store.kind == "s3" else None,
        "event_url": event_url(parts.settings, store) if store.mode == "reference" and store.kind != "nfs" else None,
        "checks": [CheckView(**one) for one in store.checks],
    }
