"""Values as PostgreSQL takes them: its text holds neither NUL nor halves of surrogate pairs, its JSON no NaN."""

import json
import math
from typing import Any

from psycopg.types.json import Jsonb

REPLACEMENT = "\ufffd"


def as_text(value: str) -> str:
    """Put U+FFFD where a character cannot be stored: one odd name must not stop the batch it came with."""
    if "\x00" in value:
        value = value.replace("\x00", REPLACEMENT)
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def as_jsonb(value: Any) -> Jsonb:
    """JSON for a ``jsonb`` parameter, with what it cannot hold replaced: characters by U+FFFD, NaN by null."""
    return Jsonb(value, dumps=_dumps)


def _dumps(value: Any) -> bytes:
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        written = b"\\u0000"
    return json.dumps(_storable(value), ensure_ascii=False).encode() if b"\\u0000" in written else written


def _storable(value: Any) -> Any:
    match value:
        case str():
            return as_text(value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {as_text(key): _storable(item) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
    return value
