"""Parts of a request that need more than a type: tags and metadata in forms, file names, ids in paths."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, Path
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from deeplens.api.file_names import file_name_of as file_name_of
from deeplens.api.problems import image_not_found, upload_not_found, video_not_found
from deeplens.contracts.api import ID, Metadata, Tags
from deeplens.contracts.uploads import UPLOAD_ID
from deeplens.contracts.videos import VIDEO_ID as VIDEO
from deeplens.errors import ApiError

IMAGE_ID = re.compile(r"img_[a-z0-9]{1,40}")
NAMED_UPLOAD = re.compile(r"upl_[a-z0-9]{1,40}")
VIDEO_ID = re.compile(r"vid_[a-z0-9]{1,40}")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
MAX_METADATA_BYTES = 16 * 1024
TAGS: TypeAdapter[list[str]] = TypeAdapter(Tags)
METADATA: TypeAdapter[dict[str, Any]] = TypeAdapter(Metadata)


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


def tags_of(form: Sequence[str]) -> tuple[str, ...]:
    """Tags given as repeated fields or as one JSON list, each once, in order."""
    given = [field for field in form if field.strip()]
    is_list = len(given) == 1 and given[0].lstrip().startswith("[")
    with _faults_in("body", "tags"):
        return unique(TAGS.validate_json(given[0]) if is_list else TAGS.validate_python(given))


def metadata_of(text: str | None, place: Literal["body", "query"]) -> dict[str, Any]:
    """A JSON object of scalars."""
    if not text or not text.strip():
        return {}
    if len(text.encode(errors="replace")) > MAX_METADATA_BYTES:
        raise refusal(place, ("metadata",), f"at most {MAX_METADATA_BYTES} bytes")
    with _faults_in(place, "metadata"):
        return METADATA.validate_json(text)


def unique(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


def idempotency_key(given: str | None) -> str | None:
    if given is None or IDEMPOTENCY_KEY.fullmatch(given):
        return given
    detail = "Idempotency-Key takes 1 to 255 printable ASCII characters, no blank at either end."
    raise ApiError(400, "invalid-idempotency-key", "Invalid Idempotency-Key", detail)


def refusal(place: str, path: Sequence[str | int], message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (place, *path), "msg": message, "type": "value"}])


@contextmanager
def _faults_in(place: str, name: str) -> Iterator[None]:
    """Validation errors as those of a request, at their place in it."""
    try:
        yield
    except ValidationError as error:
        found = [{**one, "loc": (place, name, *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(found) from None
