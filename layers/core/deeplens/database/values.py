"""Values that PostgreSQL accepts: no NUL and no lone surrogates in text, no NaN in JSON."""

import json
import math
from typing import Any

from psycopg.types.json import Jsonb

REPLACEMENT = "\ufffd"


def as_text(value: str) -> str:
    """Replace characters that cannot be stored by U+FFFD, so that one name does not fail its batch."""
    if "\x00" in value:
        value = value.replace("\x00", REPLACEMENT)
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def as_jsonb(value: Any) -> Jsonb:
    """JSON for a ``jsonb`` parameter; characters that cannot be stored become U+FFFD, NaN becomes null."""
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
