"""Where a page ended, as an opaque string: (uploaded_at, image id) of its last image.

It needs no signature: it only ever narrows the caller's own images.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

from fastapi.exceptions import RequestValidationError

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")


def write(position: tuple[datetime, str]) -> str:
    uploaded_at, image_id = position
    text = json.dumps([uploaded_at.isoformat(), image_id], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str) -> tuple[datetime, str]:
    """The position of a cursor that ``write`` made. Raises a validation error for anything else."""
    try:
        uploaded_at, image_id = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = datetime.fromisoformat(uploaded_at), str(image_id)
    except (ValueError, TypeError):
        raise _refusal() from None
    if position[0].tzinfo is None or not IMAGE_ID.fullmatch(position[1]):
        raise _refusal()
    return position


def _refusal() -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "cursor"), "msg": "not a cursor of this API", "type": "cursor"}])
