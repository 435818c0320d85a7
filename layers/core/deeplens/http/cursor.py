"""Opaque cursors: the position, (time, id) or a row of usage, at which a page ended.

They need no signature: a cursor only narrows what the caller may list.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from fastapi.exceptions import RequestValidationError

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")
GROUP_ID, MERGE_ID = re.compile(r"dup_[0-9a-f]{32}"), re.compile(r"mrg_[0-9a-z]{1,40}")
UPLOAD_ID, VIDEO_ID = re.compile(r"upl_[a-z0-9]{1,40}"), re.compile(r"vid_[a-z0-9]{1,40}")
LETTER_ID = re.compile(r"[\x21-\x7e]{1,128}")
EVENT_ID = re.compile(r"[0-9]{1,18}")


def write(position: tuple[datetime, str]) -> str:
    at, own_id = position
    return _packed([at.isoformat(), own_id])


def read(cursor: str, ids: re.Pattern[str] = IMAGE_ID) -> tuple[datetime, str]:
    """The position of a cursor that ``write`` made. Raises a validation error for anything else."""
    try:
        at, own_id = _unpacked(cursor)
        position = datetime.fromisoformat(at), str(own_id)
    except (ValueError, TypeError):
        raise _refusal() from None
    if position[0].tzinfo is None or not ids.fullmatch(position[1]):
        raise _refusal()
    return position


def page_of[T](
    found: Sequence[T], limit: int, position: Callable[[T], tuple[datetime, str]]
) -> tuple[Sequence[T], str | None]:
    """The first ``limit`` of ``limit + 1`` entries, and the cursor of the next page if there is one."""
    page = found[:limit]
    return page, write(position(page[-1])) if len(found) > limit else None


def write_usage(position: tuple[str, date, str]) -> str:
    tenant_id, day, metric = position
    return _packed([tenant_id, day.isoformat(), metric])


def read_usage(cursor: str) -> tuple[str, date, str]:
    """The position of a cursor that ``write_usage`` made. Raises a validation error for anything else."""
    try:
        tenant_id, day, metric = _unpacked(cursor)
        return str(tenant_id), date.fromisoformat(day), str(metric)
    except (ValueError, TypeError):
        raise _refusal() from None


def _packed(parts: list[str]) -> str:
    text = json.dumps(parts, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(cursor: str) -> list[Any]:
    found = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return list(found)


def _refusal() -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "cursor"), "msg": "not a cursor of this API", "type": "cursor"}])
