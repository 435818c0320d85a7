"""Parts of a request that need more than a type: tags and metadata in forms, file names, ids in paths."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Path
from fastapi.exceptions import RequestValidationError

from deeplens.errors import ApiError
from deeplens.http.problems import image_not_found, upload_not_found, video_not_found
from deeplens.http.schemas import ID, UPLOAD_ID
from deeplens.http.schemas import VIDEO_ID as VIDEO

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")
NAMED_UPLOAD = re.compile(r"upl_[a-z0-9]{1,40}")
VIDEO_ID = re.compile(r"vid_[a-z0-9]{1,40}")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def image_id_in_path(image_id: Annotated[str, Path(examples=[ID])]) -> str:
    """What cannot be an id is no image either."""
    if not IMAGE_ID.fullmatch(image_id):
        raise image_not_found("of this id")
    return image_id


def video_id_in_path(video_id: Annotated[str, Path(examples=[VIDEO])]) -> str:
    """What cannot be an id is no video either."""
    if not VIDEO_ID.fullmatch(video_id):
        raise video_not_found("of this id")
    return video_id


ImageIdInPath = Annotated[str, Depends(image_id_in_path)]
VideoIdInPath = Annotated[str, Depends(video_id_in_path)]


def upload_id_in_path(upload_id: Annotated[str, Path(examples=[UPLOAD_ID])]) -> str:
    """What cannot be an id is no upload either."""
    if not NAMED_UPLOAD.fullmatch(upload_id):
        raise upload_not_found("of this id")
    return upload_id


UploadIdInPath = Annotated[str, Depends(upload_id_in_path)]


def idempotency_key(given: str | None) -> str | None:
    if given is None or IDEMPOTENCY_KEY.fullmatch(given):
        return given
    detail = "Idempotency-Key takes 1 to 255 printable ASCII characters, no blank at either end."
    raise ApiError(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail)


def refusal(place: str, path: Sequence[str | int], message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (place, *path), "msg": message, "type": "value"}])
