"""Sign URLs of directory stores: HMAC-SHA256 over method, path and expiry."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, unquote, urlencode

PREFIX = "/_objects"


def signed_url(
    base_url: str, secret: str, method: str, bucket: str, key: str, expires: timedelta, max_bytes: int | None = None
) -> str:
    """Return ``{base_url}/_objects/{bucket}/{key}?expires=…&signature=…``, valid for ``method`` only.

    Parameters
    ----------
    max_bytes : limit of the body; signed, and part of the query.

    Raises
    ------
    ValueError
        There is no secret.
    """
    path = f"{PREFIX}/{bucket}/{key}"
    return f"{base_url.rstrip('/')}{quote(path)}?{urlencode(signed(secret, method, path, expires, max_bytes))}"


def signed(secret: str, method: str, path: str, expires: timedelta, max_bytes: int | None = None) -> dict[str, str]:
    """Return the query of a signed request for ``path``, or the fields of a form. Raises ``ValueError`` as above."""
    if not secret:
        raise ValueError("URLs of directory stores are signed with URL_SIGNING_KEY, which is not set")
    until = str(int(time.time() + expires.total_seconds()))
    limit = "" if max_bytes is None else str(max_bytes)
    fields = {"expires": until, "limit": limit, "signature": _signature(secret, method, path, until, limit)}
    return {name: value for name, value in fields.items() if value}


def verify(secret: str, method: str, path: str, query: Mapping[str, str], now: float) -> bool:
    """Return whether a request has a valid, unexpired signature for this method and path.

    Parameters
    ----------
    path : of the request, percent-encoded in any way.
    now : seconds since 1970.
    """
    until = query.get("expires", "")
    expected = _signature(secret, method, unquote(path), until, query.get("limit", ""))
    genuine = hmac.compare_digest(expected.encode(), query.get("signature", "").encode())
    # ``until`` is a number if its signature is valid.
    return bool(secret) and genuine and int(until) >= now


def _signature(secret: str, method: str, path: str, until: str, limit: str = "") -> str:
    message = f"{method}\n{path}\n{until}" + (f"\n{limit}" if limit else "")
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
