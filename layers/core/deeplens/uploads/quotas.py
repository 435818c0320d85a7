"""The answers to uploads: their headers, what a tenant may still store, and errors that say what to do."""

import math
from datetime import datetime
from typing import Any

from deeplens.errors import ApiError
from deeplens.http.rate import HEADER
from deeplens.tenants.limits import Allowance, ResourceLimits, Storage, allowance
from deeplens.tenants.model import Tenant

QUOTA_HEADERS: dict[str, Any] = {
    "X-Quota-Images-Remaining": {**HEADER, "description": "images that still fit, where their number is limited"},
    "X-Quota-Bytes-Remaining": {**HEADER, "description": "bytes that still fit, where they are limited"},
}


def documented_headers(location: str, more: dict[str, Any]) -> dict[str, Any]:
    """The headers of the answer to an accepted upload, for the documentation of its route."""
    text = {"schema": {"type": "string"}}
    replayed = {**text, "description": "true for a repeat"}
    return {"headers": {"Location": {**text, "description": location}, "Idempotency-Replayed": replayed, **more}}


def upload_headers(location: str, replayed: bool, left: Allowance) -> dict[str, str]:
    """The headers of the answer to an accepted upload."""
    repeat = {"Idempotency-Replayed": "true"} if replayed else {}
    return {"Location": location, **repeat, **quota_headers(left)}


def check_quota(limits: ResourceLimits, used: Storage, requested: Storage) -> Allowance:
    """What remains after ``requested``. Raises 413 where that does not fit."""
    allowed = allowance(limits, used, requested)
    if allowed.exceeded:
        raise _quota_exceeded(limits, used, requested, allowed)
    return allowed


def check_ingestion(tenant: Tenant, now: datetime) -> None:
    """Raise 429 while an exhausted budget of the tenant pauses uploads."""
    pause = tenant.paused
    if pause is None or pause.until <= now:
        return
    detail = (
        f"Your tenant's budget of {pause.metric} is exhausted; uploads are paused until {pause.until:%F %R} UTC. "
        "Searching and reading go on. An administrator of the tenant can raise the budget."
    )
    seconds = math.ceil((pause.until - now).total_seconds())
    raise ApiError(429, "budget-exhausted", "Budget exhausted", detail, {"Retry-After": str(seconds)})


def quota_headers(allowed: Allowance) -> dict[str, str]:
    left = {
        "X-Quota-Images-Remaining": allowed.images_left,
        "X-Quota-Bytes-Remaining": allowed.bytes_left,
    }
    return {name: str(amount) for name, amount in left.items() if amount is not None}


def _quota_exceeded(limits: ResourceLimits, used: Storage, requested: Storage, allowed: Allowance) -> ApiError:
    reasons = {
        "max_images": f"Your tenant may keep {limits.max_images} images and has {used.images}.",
        "max_bytes": f"Your tenant may store {limits.max_bytes} bytes and has {used.bytes}; "
        f"this file: {requested.bytes}.",
    }
    advice = "Delete images, which makes room within seconds, or ask your operator for more."
    detail = " ".join([*(reasons[quota] for quota in allowed.exceeded), advice])
    return ApiError(413, "quota-exceeded", "Quota exceeded", detail, quota_headers(allowed))
