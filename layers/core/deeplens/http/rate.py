"""Rate limit headers and responses."""

from typing import Any

from deeplens.errors import ApiError
from deeplens.http.schemas import Problem
from deeplens.tenants.limits import WINDOW_SECONDS, RequestRate

HEADER: dict[str, Any] = {"schema": {"type": "string"}}

RATE_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {**HEADER, "description": 'the limit, e.g. `"requests";q=600;w=60`'},
    "RateLimit": {**HEADER, "description": 'requests left and seconds to the next minute, `"requests";r=599;t=43`'},
}

RATE_LIMITED: dict[int | str, dict[str, Any]] = {
    429: {
        "model": Problem,
        "description": "Too Many Requests",
        "headers": {"Retry-After": {**HEADER, "description": "seconds to the next minute, or month"}, **RATE_HEADERS},
    }
}
"""For the documentation of every route that counts its callers' requests."""


def rate_headers(rate: RequestRate) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers has them."""
    return {
        "RateLimit-Policy": f'"requests";q={rate.limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"requests";r={rate.left};t={rate.resets_in_seconds}',
    }


def rate_limited(rate: RequestRate) -> ApiError:
    detail = (
        f"Your tenant may send {rate.limit} requests per minute. Retry in {rate.resets_in_seconds} s, or ask your "
        "operator for a higher limit."
    )
    headers = {"Retry-After": str(rate.resets_in_seconds)}
    return ApiError(429, "rate-limited", "Too many requests", detail, headers)
