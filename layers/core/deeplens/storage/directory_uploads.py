"""Let clients upload to a directory: signed forms and parts, which the host of the API accepts."""

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import BinaryIO, cast

from deeplens.storage.keys import checked
from deeplens.storage.ports import FormPost, ObjectStore, Part, PartUrl
from deeplens.storage.signing import PREFIX, signed, signed_url

PARTS = "parts"
UNKNOWN_TYPE = "application/octet-stream"


class DirectoryUploads:
    """``ClientUploads`` on a directory. Parts are objects below ``parts/``, without notifications.

    Parameters
    ----------
    public_url, signing_key : of the host that accepts the uploads.
    """

    def __init__(self, store: ObjectStore, bucket: str, public_url: str, signing_key: str) -> None:
        self._store, self._bucket, self._public_url, self._signing_key = store, bucket, public_url, signing_key

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        path = f"{PREFIX}/{self._bucket}/{checked(key)}"
        fields = {"key": key, **signed(self._signing_key, "POST", path, expires, max_bytes)}
        return FormPost(f"{self._public_url.rstrip('/')}{PREFIX}/{self._bucket}", fields, _until(fields["expires"]))

    def begin(self, key: str) -> str:
        checked(key)
        return token_hex(16)

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        checked(key)
        until = datetime.now(UTC) + expires
        part = part_key(multipart_id, number)
        url = signed_url(self._public_url, self._signing_key, "PUT", self._bucket, part, expires, size_bytes)
        return PartUrl(number, url, size_bytes, until)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        checked(key)
        found = self._store.list(f"{PARTS}/{multipart_id}/")
        return [Part(int(entry.key.rpartition("/")[2]), entry.size_bytes, entry.etag) for entry in found]

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        keys = [part_key(multipart_id, part.number) for part in parts]
        chunks = (chunk for part in keys for chunk in self._store.stream(part))
        self._store.put(key, cast("BinaryIO", Chained(chunks)), UNKNOWN_TYPE)
        self._store.delete(keys)

    def abort(self, key: str, multipart_id: str) -> None:
        self._store.delete([part_key(multipart_id, part.number) for part in self.parts(key, multipart_id)])


class Chained(io.RawIOBase):
    """A readable file over a sequence of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - always one chunk
        return next(self._chunks, b"")


def part_key(multipart_id: str, number: int) -> str:
    return f"{PARTS}/{multipart_id}/{number:05}"


def _until(expires: str) -> datetime:
    return datetime.fromtimestamp(int(expires), UTC)
