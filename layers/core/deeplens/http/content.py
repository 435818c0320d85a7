"""Responses with a file: caching, conditional requests and the file's name."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from deeplens.errors import ApiError

PRESIGNED_FOR = timedelta(minutes=5)
# A deleted image must disappear at once, so originals are revalidated each time; thumbnails may be cached an hour.
REVALIDATE, AN_HOUR = "private, no-cache", "private, max-age=3600"
SAFE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Vary": "X-API-Key"}
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def content_not_found(image_id: str) -> ApiError:
    return ApiError(404, "content-not-found", "Content not found", f"The file of {image_id} is missing.")


def matches(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison, RFC 9110 13.1.2."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in re.findall(r'"[^"]*"', if_none_match)


def disposition(file_name: str) -> str:
    """The file's name in ASCII, and in full according to RFC 8187."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", file_name)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
