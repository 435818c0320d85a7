"""The messages between a sandbox's parent and its child. The parent trusts nothing that comes back.

A request is a pickle, which only the child reads. An answer is JSON and bytes, built into the type that the parent
expects.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from struct import Struct
from typing import Any, cast

REQUEST, ANSWER, CHUNK = Struct("<II"), Struct("<cII"), Struct("<I")
"""Bytes of the pickle and of the file; kind, bytes of JSON and of what it refers to; bytes of a chunk."""
RANGED = 2**32 - 1
"""In place of a file's length: the child asks for its parts."""
READY, ITEM, END, ERROR, READ = (bytes([letter]) for letter in b"HIEXR")
MAX_JSON_BYTES, MAX_BLOB_BYTES = 64 << 10, 64 << 20


def flatten(value: Any, blobs: list[bytes]) -> Any:
    """Return what JSON can say of a value: dataclasses as lists, bytes as their length, with them in ``blobs``."""
    if isinstance(value, bytes):
        blobs.append(value)
        return len(value)
    if is_dataclass(value):
        return [flatten(getattr(value, field.name), blobs) for field in fields(value)]
    return value


def rebuild[T](kind: type[T], value: Any, blob: bytes) -> T:
    """Return a ``kind`` from what ``flatten`` made of it. Raises ``ValueError`` or ``TypeError`` for anything else."""
    position = 0

    def take(kind: Any, value: Any) -> Any:
        nonlocal position
        if is_dataclass(kind) and isinstance(kind, type):
            return kind(*(take(f.type, part) for f, part in zip(fields(kind), value, strict=True)))
        if kind is bytes:
            start, position = position, position + int(value)
            if not start <= position <= len(blob):
                raise ValueError("bytes are missing")
            return blob[start:position]
        if type(value) is not kind and (kind is not float or type(value) is not int):
            raise TypeError(f"{kind.__name__} expected")
        return kind(value)

    return cast("T", take(kind, value))


def subclasses[T](cls: type[T]) -> Iterator[type[T]]:
    yield cls
    for below in cls.__subclasses__():
        yield from subclasses(below)
