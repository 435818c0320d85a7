"""Validation beyond types: ids in paths, idempotency keys, and errors about a member of the request."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, Path
from fastapi.exceptions import RequestValidationError

from deeplens.errors import ApiError
from deeplens.http import schemas
from deeplens.http.cursor import IMAGE_ID, UPLOAD_ID, VIDEO_ID
from deeplens.http.problems import image_not_found, upload_not_found, video_not_found

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def id_in_path(
    name: str, pattern: re.Pattern[str], example: str, not_found: Callable[[str], ApiError]
) -> Callable[[str], str]:
    """A dependency that gives the id in a path, and answers 404 for malformed ids."""

    def check(value: Annotated[str, Path(alias=name, examples=[example])]) -> str:
        if not pattern.fullmatch(value):
            raise not_found("of this id")
        return value

    return check


image_id_in_path = id_in_path("image_id", IMAGE_ID, schemas.ID, image_not_found)
video_id_in_path = id_in_path("video_id", VIDEO_ID, schemas.VIDEO_ID, video_not_found)
upload_id_in_path = id_in_path("upload_id", UPLOAD_ID, schemas.UPLOAD_ID, upload_not_found)
ImageIdInPath = Annotated[str, Depends(image_id_in_path)]
VideoIdInPath = Annotated[str, Depends(video_id_in_path)]
UploadIdInPath = Annotated[str, Depends(upload_id_in_path)]


def idempotency_key(key: str | None) -> str | None:
    if key is None or IDEMPOTENCY_KEY.fullmatch(key):
        return key
    detail = "Idempotency-Key takes 1 to 255 printable ASCII characters, no blank at either end."
    raise ApiError(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail)


def refusal(place: str, path: Sequence[str | int], message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (place, *path), "msg": message, "type": "value"}])
