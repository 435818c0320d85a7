"""Limits in answers: what a tenant has left, and refusals that say what to do."""

import math
from datetime import datetime
from typing import Any

from deeplens.contracts.api import Problem
from deeplens.domain import Tenant
from deeplens.errors import ApiError
from deeplens.limits import WINDOW_SECONDS, Allowance, RequestRate, ResourceLimits, Storage, allowance
from deeplens.settings import Settings
from deeplens.video.sniff import type_by_name

HEADER: dict[str, Any] = {"schema": {"type": "string"}}
RATE_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {**HEADER, "description": 'the limit, e.g. `"requests";q=600;w=60`'},
    "RateLimit": {
        **HEADER,
        "description": 'requests left, seconds to the next minute, e.g. `"requests";r=599;t=43`',
    },
}
QUOTA_HEADERS: dict[str, Any] = {
    "X-Quota-Images-Remaining": {**HEADER, "description": "images that still fit, where their number is limited"},
    "X-Quota-Bytes-Remaining": {**HEADER, "description": "bytes that still fit, where they are limited"},
}
RATE_LIMITED: dict[int | str, dict[str, Any]] = {
    429: {
        "model": Problem,
        "description": "Too Many Requests",
        "headers": {"Retry-After": {**HEADER, "description": "seconds to the next minute, or month"}, **RATE_HEADERS},
    }
}
"""For the documentation of every route that counts its callers' requests."""


def effective_limits(tenant: Tenant, settings: Settings) -> ResourceLimits:
    """What counts for a tenant; None is unlimited."""
    return tenant.limits.over(settings.default_limits)


def largest_file(limits: ResourceLimits, settings: Settings) -> int:
    """Bytes of the largest file the tenant may upload: its own limit, or what a request can carry."""
    return min(limits.max_file_bytes or settings.max_upload_bytes, settings.max_upload_bytes)


def largest_upload(limits: ResourceLimits, settings: Settings, file_name: str) -> int:
    """The same for a file that goes to the store directly; what it is called says whether it may be a video."""
    most = settings.max_video_bytes if type_by_name(file_name) else settings.max_image_bytes
    return min(limits.max_file_bytes or most, most)


def granted(limits: ResourceLimits, used: Storage, wanted: Storage) -> Allowance:
    """What remains, after ``wanted``. Raises 413 where that does not fit."""
    allowed = allowance(limits, used, wanted)
    if allowed.exceeded:
        raise quota_exceeded(limits, used, wanted, allowed)
    return allowed


def rate_headers(rate: RequestRate) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers has them."""
    return {
        "RateLimit-Policy": f'"requests";q={rate.limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"requests";r={rate.left};t={rate.resets_in_seconds}',
    }


def rate_limited(rate: RequestRate) -> ApiError:
    detail = (
        f"Your tenant may send {rate.limit} requests per minute. Go on in {rate.resets_in_seconds} s, or ask your "
        "operator for more."
    )
    headers = {"Retry-After": str(rate.resets_in_seconds)}
    return ApiError(429, "rate-limited", "Too many requests", detail, headers)


def check_ingestion(tenant: Tenant, now: datetime) -> None:
    """Raise 429 while a budget of the tenant's, which wants it so, takes no more uploads."""
    pause = tenant.paused
    if pause is None or pause.until <= now:
        return
    detail = (
        f"Your tenant's budget of {pause.metric} is exhausted, and it wants uploads to pause until {pause.until:%F %R} "
        "UTC; searching and reading go on. An administrator of the tenant can raise the budget."
    )
    seconds = math.ceil((pause.until - now).total_seconds())
    raise ApiError(429, "budget-exhausted", "Budget exhausted", detail, {"Retry-After": str(seconds)})


def quota_headers(allowed: Allowance) -> dict[str, str]:
    left = {
        "X-Quota-Images-Remaining": allowed.images_left,
        "X-Quota-Bytes-Remaining": allowed.bytes_left,
    }
    return {name: str(amount) for name, amount in left.items() if amount is not None}


def quota_exceeded(limits: ResourceLimits, used: Storage, wanted: Storage, allowed: Allowance) -> ApiError:
    reasons = {
        "max_images": f"Your tenant may keep {limits.max_images} images and has {used.images}.",
        "max_bytes": f"Your tenant may store {limits.max_bytes} bytes and has {used.bytes}; this file: {wanted.bytes}.",
    }
    advice = "Delete images, which makes room within seconds, or ask your operator for more."
    detail = " ".join([*(reasons[quota] for quota in allowed.exceeded), advice])
    return ApiError(413, "quota-exceeded", "Quota exceeded", detail, quota_headers(allowed))
