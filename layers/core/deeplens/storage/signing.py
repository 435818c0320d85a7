"""Signed URLs of directory stores: HMAC-SHA256 over method, path and expiry."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, urlencode

PREFIX = "/_objects"


def signed_url(base_url: str, secret: str, method: str, bucket: str, key: str, expires: timedelta) -> str:
    """``{base_url}/_objects/{bucket}/{key}?expires=…&signature=…``, good for ``method`` only."""
    path = f"{PREFIX}/{quote(bucket)}/{quote(key)}"
    until = str(int(time.time() + expires.total_seconds()))
    return f"{base_url}{path}?{urlencode({'expires': until, 'signature': _signature(secret, method, path, until)})}"


def verify(secret: str, method: str, path: str, query: Mapping[str, str], now: float) -> bool:
    """Whether a request carries a signature for this method and path that has not expired."""
    until = query.get("expires", "")
    expected = _signature(secret, method, path, until)
    fresh = until.isdecimal() and int(until) >= now
    return hmac.compare_digest(expected, query.get("signature", "")) and fresh and bool(secret)


def _signature(secret: str, method: str, path: str, until: str) -> str:
    return hmac.new(secret.encode(), f"{method}\n{path}\n{until}".encode(), hashlib.sha256).hexdigest()
