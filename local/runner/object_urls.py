"""Serve the signed URLs of directory stores, and send notifications, as S3 does for presigned URLs."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import parse_qsl, unquote

from deeplens.errors import DependencyUnavailable, PipelineError
from deeplens.events.bucket import ObjectLocation
from deeplens.storage.directory import DirectoryStore
from deeplens.storage.ports import PREFIX as UPLOADS
from deeplens.storage.signing import PREFIX, verify
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from local.runner.http_event import Response, message

IN_MEMORY_BYTES = 1 << 20
UNKNOWN_TYPE = "application/octet-stream"
SOURCE = "deeplens:nfs"


class SizeRefused(Exception):
    """The body exceeds the signed size, or is empty."""


class Forbidden(Exception):
    """The request has no valid signature."""


class SignedForm(MultiPartParser):
    """Parse a form, and check its fields before the first byte of its file is stored.

    Parameters
    ----------
    check : takes the fields; returns the maximum size of the file in bytes, or raises ``Forbidden``.
    """

    def __init__(self, request: Request, check: Callable[[Mapping[str, str]], int]) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=10, max_part_size=4096)
        self._check, self._remaining_bytes = check, 0

    async def read(self) -> tuple[str, Any]:
        """Return the key, and the file, which the caller closes. Raises ``SizeRefused`` and what ``check`` raises."""
        form = await self.parse()
        file = next((value for value in form.values() if not isinstance(value, str)), None)
        if file is None or not file.size:
            raise SizeRefused
        return str(form.get("key", "")), file.file

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._remaining_bytes = self._check({name: value for name, value in self.items if isinstance(value, str)})

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self._remaining_bytes -= end - start
            if self._remaining_bytes < 0:
                raise SizeRefused
        super().on_part_data(data, start, end)


def range_of(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header asks for; empty beyond ``size``, None for all (RFC 9110, 14.1.2)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size, size))


class ObjectUrls:
    """Serve ``/_objects/{bucket}``: ``GET`` and ``PUT`` of a key with a signed query, ``POST`` of a form.

    Parameters
    ----------
    root : folder of the buckets.
    secret : key of the signatures; if empty, no URL is valid.
    notify : called with each new object below ``uploads/`` after it is written.
    """

    prefix = f"{PREFIX}/"

    def __init__(self, root: Path, secret: str, notify: Callable[[ObjectLocation], None] = lambda _: None) -> None:
        self._root, self._secret, self._notify = root, secret, notify

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return 200, 206 or 416 for a read, 204 for a write, and an error otherwise.

        403 means an invalid signature, 404 no such object, 400 a body beyond the signed size.
        """
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        try:
            if scope["method"] == "POST":
                return await self._post(Request(scope, receive), path)
            self._require_signature(scope["method"], path, query)
            if scope["method"] == "PUT":
                return await self._put(Request(scope, receive), path, query)
            return await asyncio.to_thread(self._get, path, Headers(scope=scope).get("range", ""))
        except Forbidden:
            return message(403, "Forbidden")
        except SizeRefused:
            return message(400, "EntityTooLarge")
        except (ClientDisconnect, MultiPartException, KeyError):
            return message(400, "Bad Request")
        except DependencyUnavailable:
            return message(503, "Service Unavailable")
        except (PipelineError, ValueError):
            return message(404, "Not Found")

    def _require_signature(self, method: str, path: str, parameters: Mapping[str, str]) -> None:
        """Raise ``Forbidden`` unless the parameters hold a valid signature for this method and path."""
        if method not in ("GET", "PUT", "POST") or not verify(self._secret, method, path, parameters, time.time()):
            raise Forbidden

    def _get(self, path: str, range_header: str) -> Response:
        store, key = self._locate(path)
        info = store.head(key)
        headers = [(b"content-type", info.content_type.encode()), (b"accept-ranges", b"bytes")]
        part = range_of(range_header, info.size_bytes)
        if part is None:
            return Response(200, headers, store.get(key))
        span = f"{part.start}-{part.stop - 1}" if part else "*"
        headers.append((b"content-range", f"bytes {span}/{info.size_bytes}".encode()))
        if not part:
            return Response(416, headers, b"")
        return Response(206, headers, store.get_range(key, part.start, len(part)))

    async def _put(self, request: Request, path: str, query: Mapping[str, str]) -> Response:
        with SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
            async for chunk in _limited(request, int(query.get("limit") or IN_MEMORY_BYTES)):
                await asyncio.to_thread(file.write, chunk)
            return await asyncio.to_thread(self._write, path, file, request.headers.get("content-type"))

    async def _post(self, request: Request, path: str) -> Response:
        """Store the file of a form like S3's. Its signed fields, which limit key, size and time, precede the file."""

        def check(fields: Mapping[str, str]) -> int:
            self._require_signature("POST", f"{path.rstrip('/')}/{fields.get('key', '')}", fields)
            return int(fields.get("limit") or 0)

        form = SignedForm(request, check)
        key, file = await form.read()
        with file:
            return await asyncio.to_thread(self._write, f"{path.rstrip('/')}/{key}", file, None)

    def _write(self, path: str, file: Any, content_type: str | None) -> Response:
        store, key = self._locate(path)
        file.seek(0)
        store.put(key, file, content_type or UNKNOWN_TYPE)
        if key.startswith(UPLOADS):
            bucket = unquote(path.removeprefix(self.prefix)).partition("/")[0]
            self._notify(ObjectLocation(SOURCE, bucket, key))
        return Response(204, [], b"")

    def _locate(self, path: str) -> tuple[DirectoryStore, str]:
        bucket, _, key = unquote(path.removeprefix(self.prefix)).partition("/")
        return DirectoryStore(self._root / bucket, f"nfs://{bucket}", "", ""), key


async def _limited(request: Request, max_bytes: int) -> Any:
    """Yield the body's chunks. Raises ``SizeRefused`` as soon as they exceed ``max_bytes``."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise SizeRefused
        yield chunk
