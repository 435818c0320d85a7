"""Signed URLs of directory stores: HMAC-SHA256 over method, path and expiry."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, unquote, urlencode

PREFIX = "/_objects"


def signed_url(base_url: str, secret: str, method: str, bucket: str, key: str, expires: timedelta) -> str:
    """``{base_url}/_objects/{bucket}/{key}?expires=…&signature=…``, good for ``method`` only.

    Raises
    ------
    ValueError
        There is no secret.
    """
    if not secret:
        raise ValueError("URLs of directory stores are signed with URL_SIGNING_KEY, which is not set")
    path = f"{PREFIX}/{bucket}/{key}"
    until = str(int(time.time() + expires.total_seconds()))
    query = urlencode({"expires": until, "signature": _signature(secret, method, path, until)})
    return f"{base_url.rstrip('/')}{quote(path)}?{query}"


def verify(secret: str, method: str, path: str, query: Mapping[str, str], now: float) -> bool:
    """Whether a request carries a signature for this method and path that has not expired.

    Parameters
    ----------
    path : of the request, percent-encoded in any way.
    now : seconds since 1970.
    """
    until = query.get("expires", "")
    expected = _signature(secret, method, unquote(path), until)
    genuine = hmac.compare_digest(expected.encode(), query.get("signature", "").encode())
    # Only what we signed is known to be a number.
    return bool(secret) and genuine and int(until) >= now


def _signature(secret: str, method: str, path: str, until: str) -> str:
    return hmac.new(secret.encode(), f"{method}\n{path}\n{until}".encode(), hashlib.sha256).hexdigest()
