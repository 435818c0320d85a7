"""Opaque cursors: the position at which a page ended, (time, id) or (tenant, day, metric).

They need no signature: a cursor only narrows what the caller may list.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic_core import from_json

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")
GROUP_ID, MERGE_ID = re.compile(r"dup_[0-9a-f]{32}"), re.compile(r"mrg_[0-9a-z]{1,40}")
UPLOAD_ID, VIDEO_ID = re.compile(r"upl_[a-z0-9]{1,40}"), re.compile(r"vid_[a-z0-9]{1,40}")
LETTER_ID = re.compile(r"[\x21-\x7e]{1,128}")
EVENT_ID = re.compile(r"[0-9]{1,18}")


def write(position: Sequence[str | date]) -> str:
    parts = [part if isinstance(part, str) else part.isoformat() for part in position]
    text = json.dumps(parts, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, ids: re.Pattern[str] = IMAGE_ID) -> tuple[datetime, str]:
    """The position (time, id) of a cursor that ``write`` made. Raises a validation error for anything else."""
    try:
        at, own_id = _unpacked(cursor)
        position = datetime.fromisoformat(at), str(own_id)
    except (ValueError, TypeError):
        raise _not_a_cursor() from None
    if position[0].tzinfo is None or not ids.fullmatch(position[1]):
        raise _not_a_cursor()
    return position


def page_of[T](
    found: Sequence[T], limit: int, position: Callable[[T], tuple[datetime, str]]
) -> tuple[Sequence[T], str | None]:
    """The first ``limit`` of ``limit + 1`` entries, and the cursor of the next page if there is one."""
    page = found[:limit]
    return page, write(position(page[-1])) if len(found) > limit else None


def read_usage(cursor: str) -> tuple[str, date, str]:
    """The same for a position (tenant, day, metric)."""
    try:
        tenant_id, day, metric = _unpacked(cursor)
        return str(tenant_id), date.fromisoformat(day), str(metric)
    except (ValueError, TypeError):
        raise _not_a_cursor() from None


def _unpacked(cursor: str) -> list[Any]:
    return list(from_json(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))))


def _not_a_cursor() -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "cursor"), "msg": "not a cursor of this API", "type": "cursor"}])
