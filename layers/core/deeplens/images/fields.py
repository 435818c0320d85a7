"""Tags, metadata and the parameters of lists in forms and queries."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from deeplens.http import cursor
from deeplens.http.fields import validation_error
from deeplens.images.model import MediaQuery
from deeplens.images.schemas import MediaListQuery, Metadata, Tags

MAX_METADATA_BYTES = 16 * 1024

TAGS: TypeAdapter[list[str]] = TypeAdapter(Tags)

METADATA: TypeAdapter[dict[str, Any]] = TypeAdapter(Metadata)


def tags_of(form: Sequence[str]) -> tuple[str, ...]:
    """Tags sent as repeated fields or as one JSON list, each once, in order."""
    fields = [field for field in form if field.strip()]
    is_list = len(fields) == 1 and fields[0].lstrip().startswith("[")
    with _faults_in("body", "tags"):
        return unique(TAGS.validate_json(fields[0]) if is_list else TAGS.validate_python(fields))


def metadata_of(text: str | None, place: Literal["body", "query"]) -> dict[str, Any]:
    """A JSON object of scalars."""
    if not text or not text.strip():
        return {}
    if len(text.encode(errors="replace")) > MAX_METADATA_BYTES:
        raise validation_error(place, ("metadata",), f"at most {MAX_METADATA_BYTES} bytes")
    with _faults_in(place, "metadata"):
        return METADATA.validate_json(text)


def media_query(query: MediaListQuery, ids: re.Pattern[str]) -> MediaQuery:
    """The query of a list's parameters, for one more than its limit, which tells whether there is a next page."""
    return MediaQuery(
        limit=query.limit + 1,
        statuses=tuple(query.status),
        tags=tuple(query.tag),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
        after=cursor.read(query.cursor, ids) if query.cursor else None,
    )


def unique(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


@contextmanager
def _faults_in(place: str, name: str) -> Iterator[None]:
    """Raise validation errors as those of a request, with their place in it."""
    try:
        yield
    except ValidationError as error:
        faults = [{**fault, "loc": (place, name, *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
