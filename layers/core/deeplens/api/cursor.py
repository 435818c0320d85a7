"""Where a page ended, as an opaque string: (time, id) of its last image, video or dead letter.

It needs no signature: it only ever narrows what the caller may list.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

from fastapi.exceptions import RequestValidationError

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")
VIDEO_ID = re.compile(r"vid_[a-z0-9]{1,40}")
LETTER_ID = re.compile(r"[\x21-\x7e]{1,128}")


def write(position: tuple[datetime, str]) -> str:
    at, own_id = position
    text = json.dumps([at.isoformat(), own_id], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, ids: re.Pattern[str] = IMAGE_ID) -> tuple[datetime, str]:
    """The position of a cursor that ``write`` made. Raises a validation error for anything else."""
    try:
        at, own_id = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = datetime.fromisoformat(at), str(own_id)
    except (ValueError, TypeError):
        raise _refusal() from None
    if position[0].tzinfo is None or not ids.fullmatch(position[1]):
        raise _refusal()
    return position


def _refusal() -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "cursor"), "msg": "not a cursor of this API", "type": "cursor"}])
