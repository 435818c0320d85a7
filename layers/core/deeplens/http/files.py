"""Files in multipart forms and in responses: limits, caching, conditional requests, and the file's name."""

import re
from datetime import timedelta
from typing import Any, TypedDict
from urllib.parse import quote

from fastapi import UploadFile

from deeplens.errors import ApiError, FileTooLarge

PRESIGNED_FOR = timedelta(minutes=5)
# A deleted image must disappear at once, so originals are revalidated each time; thumbnails may be cached an hour.
REVALIDATE, AN_HOUR = "private, no-cache", "private, max-age=3600"
SAFE = {"Content-Security-Policy": "default-src 'none'; sandbox"}
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


class FormLimits(TypedDict, total=False):
    """Limits of a multipart form; FastAPI's type is private."""

    max_fields: int
    max_files: int
    max_part_size: int


def form_of(files: int) -> FormLimits:
    """The limits of a form with so many files."""
    return {"max_files": files, "max_fields": 100, "max_part_size": 64 * 1024}


def body_of(file: UploadFile, max_bytes: int) -> bytes:
    """The file's bytes. Raises ``FileTooLarge`` beyond ``max_bytes``."""
    body = file.file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise FileTooLarge(f"the file is larger than {max_bytes} bytes, the limit of one request; use POST /v1/uploads")
    return body


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
