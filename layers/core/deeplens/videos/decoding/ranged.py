"""An object as a file that is read in ranges, so that no function holds a whole video."""

import io
from collections import OrderedDict
from typing import Protocol

CHUNK_BYTES = 4 << 20
CHUNKS_KEPT = 6
"""Streams that lie apart in a file, and its index, are read in turns."""


class ReadsRanges(Protocol):
    """The part of an object store that a file needs."""

    def get_range(self, key: str, start: int, length: int) -> bytes: ...


class RangedFile(io.RawIOBase):
    """A seekable file over ``ObjectStore.get_range``, with at most ``CHUNKS_KEPT`` chunks in memory.

    Parameters
    ----------
    size_bytes : of the object.

    Attributes
    ----------
    failure : the store's error, if there was one: a decoder may have hidden it.
    bytes_read : from the store so far.
    """

    def __init__(self, store: ReadsRanges, key: str, size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        super().__init__()
        self._store, self._key, self.size_bytes, self._chunk_bytes = store, key, size_bytes, chunk_bytes
        self._position, self._chunks = 0, OrderedDict[int, bytes]()
        self.failure: Exception | None = None
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size_bytes - self._position)
        remaining = left if size < 0 else min(size, left)
        parts = []
        while remaining:
            number, start = divmod(self._position, self._chunk_bytes)
            part = self._chunk(number)[start : start + remaining]
            if not part:  # shorter than its size was at the beginning
                break
            parts.append(part)
            self._position += len(part)
            remaining -= len(part)
        return b"".join(parts)

    def peek(self, position: int, length: int) -> bytes:
        """A few bytes from anywhere, without what surrounds them."""
        length = min(length, self.size_bytes - position)
        return self._fetch(position, length) if length > 0 else b""

    def _chunk(self, number: int) -> bytes:
        if number not in self._chunks:
            start = number * self._chunk_bytes
            self._chunks[number] = self._fetch(start, min(self._chunk_bytes, self.size_bytes - start))
            if len(self._chunks) > CHUNKS_KEPT:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(number)
        return self._chunks[number]

    def _fetch(self, start: int, length: int) -> bytes:
        try:
            found = self._store.get_range(self._key, start, length)
        except Exception as error:
            self.failure = error
            raise
        self.bytes_read += len(found)
        return found
