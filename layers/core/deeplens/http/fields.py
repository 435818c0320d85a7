"""Validation beyond types: ids in paths, idempotency keys, and errors about a member of the request."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import Depends, Header, Path, Query
from fastapi.exceptions import RequestValidationError

from deeplens.errors import ApiError
from deeplens.http import schemas
from deeplens.http.cursor import IMAGE_ID, UPLOAD_ID, VIDEO_ID
from deeplens.http.problems import not_found

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def id_in_path(
    kind: Literal["image", "upload", "video"], pattern: re.Pattern[str], example: str
) -> Callable[[str], str]:
    """A dependency that gives the id in a path, and answers 404 for malformed ids."""

    def check(value: Annotated[str, Path(alias=f"{kind}_id", examples=[example])]) -> str:
        if not pattern.fullmatch(value):
            raise not_found(kind, "of this id")
        return value

    return check


image_id_in_path = id_in_path("image", IMAGE_ID, schemas.ID)
video_id_in_path = id_in_path("video", VIDEO_ID, schemas.VIDEO_ID)
upload_id_in_path = id_in_path("upload", UPLOAD_ID, schemas.UPLOAD_ID)
ImageIdInPath = Annotated[str, Depends(image_id_in_path)]
VideoIdInPath = Annotated[str, Depends(video_id_in_path)]
UploadIdInPath = Annotated[str, Depends(upload_id_in_path)]


MAX_PAGE = 200
After = Annotated[str, Query(max_length=400, description="``next`` of the page before")]
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="a repeat with the same key and file continues the same upload"),
]


def idempotency_key(key: str | None) -> str | None:
    if key is None or IDEMPOTENCY_KEY.fullmatch(key):
        return key
    detail = "Idempotency-Key takes 1 to 255 printable ASCII characters, no blank at either end."
    raise ApiError(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail)


def validation_error(place: str, path: Sequence[str | int], message: str) -> RequestValidationError:
    """The 422 answer about one member of the request; ``place`` is ``query``, ``body`` or ``header``."""
    return RequestValidationError([{"loc": (place, *path), "msg": message, "type": "value"}])
