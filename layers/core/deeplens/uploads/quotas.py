"""Quotas in answers: what a tenant may still store, and errors that say what to do."""

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


def granted(limits: ResourceLimits, used: Storage, wanted: Storage) -> Allowance:
    """What remains after ``wanted``. Raises 413 where that does not fit."""
    allowed = allowance(limits, used, wanted)
    if allowed.exceeded:
        raise _quota_exceeded(limits, used, wanted, allowed)
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


def _quota_exceeded(limits: ResourceLimits, used: Storage, wanted: Storage, allowed: Allowance) -> ApiError:
    reasons = {
        "max_images": f"Your tenant may keep {limits.max_images} images and has {used.images}.",
        "max_bytes": f"Your tenant may store {limits.max_bytes} bytes and has {used.bytes}; this file: {wanted.bytes}.",
    }
    advice = "Delete images, which makes room within seconds, or ask your operator for more."
    detail = " ".join([*(reasons[quota] for quota in allowed.exceeded), advice])
    return ApiError(413, "quota-exceeded", "Quota exceeded", detail, quota_headers(allowed))
