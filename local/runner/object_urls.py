"""Serve signed URLs of directory stores, with notifications, as S3 does for presigned ones."""

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


class TooLarge(Exception):
    """The body exceeds the signed size."""


class Forbidden(Exception):
    """The request has no valid signature."""


class SignedForm(MultiPartParser):
    """A form whose fields are checked before the first byte of its file is kept.

    Parameters
    ----------
    check : given the fields; returns how many bytes the file may have, or raises ``Forbidden``.
    """

    def __init__(self, request: Request, check: Callable[[Mapping[str, str]], int]) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=10, max_part_size=4096)
        self._check, self._left = check, 0

    async def read(self) -> tuple[str, Any]:
        """The key, and the file, which the caller closes. Raises ``TooLarge``, also for an empty file."""
        form = await self.parse()
        file = next((value for value in form.values() if not isinstance(value, str)), None)
        if file is None or not file.size:
            raise TooLarge
        return str(form.get("key", "")), file.file

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._left = self._check({name: value for name, value in self.items if isinstance(value, str)})

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self._left -= end - start
            if self._left < 0:
                raise TooLarge
        super().on_part_data(data, start, end)


def range_of(wanted: str, size: int) -> range | None:
    """Bytes of one range of a ``Range`` header; empty where it lies outside, None for all (RFC 9110, 14.1.2)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size, size))


class ObjectUrls:
    """Answers below ``/_objects/{bucket}``: ``GET`` and ``PUT`` of a key with a signed query, ``POST`` of a form.

    Parameters
    ----------
    root : folder of the buckets.
    secret : that the URLs are signed with; empty means that none is good.
    notify : told of each new object below ``uploads/``, once it is there.
    """

    prefix = f"{PREFIX}/"

    def __init__(self, root: Path, secret: str, notify: Callable[[ObjectLocation], None] = lambda _: None) -> None:
        self._root, self._secret, self._notify = root, secret, notify

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """The object, or 204 when one was written; 403 without a good signature, 404 where nothing is, 400 beyond the
        size that was signed."""
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        try:
            if scope["method"] == "POST":
                return await self._post(Request(scope, receive), path)
            self._require(scope["method"], path, query)
            if scope["method"] == "PUT":
                return await self._put(Request(scope, receive), path, query)
            return await asyncio.to_thread(self._get, path, Headers(scope=scope).get("range", ""))
        except Forbidden:
            return message(403, "Forbidden")
        except TooLarge:
            return message(400, "EntityTooLarge")
        except (ClientDisconnect, MultiPartException, KeyError):
            return message(400, "Bad Request")
        except DependencyUnavailable:
            return message(503, "Service Unavailable")
        except (PipelineError, ValueError):
            return message(404, "Not Found")

    def _require(self, method: str, path: str, given: Mapping[str, str]) -> None:
        """Raise ``Forbidden`` unless what is given is signed for this."""
        if method not in ("GET", "PUT", "POST") or not verify(self._secret, method, path, given, time.time()):
            raise Forbidden

    def _get(self, path: str, wanted: str) -> Response:
        store, key = self._place(path)
        found = store.head(key)
        headers = [(b"content-type", found.content_type.encode()), (b"accept-ranges", b"bytes")]
        part = range_of(wanted, found.size_bytes)
        if part is None:
            return Response(200, headers, store.get(key))
        shown = f"{part.start}-{part.stop - 1}" if part else "*"
        headers.append((b"content-range", f"bytes {shown}/{found.size_bytes}".encode()))
        return (
            Response(206, headers, store.get_range(key, part.start, len(part))) if part else Response(416, headers, b"")
        )

    async def _put(self, request: Request, path: str, query: Mapping[str, str]) -> Response:
        with SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
            async for chunk in _limited(request, int(query.get("limit") or IN_MEMORY_BYTES)):
                await asyncio.to_thread(file.write, chunk)
            return await asyncio.to_thread(self._written, path, file, request.headers.get("content-type"))

    async def _post(self, request: Request, path: str) -> Response:
        """A form like S3's: signed fields, then the file, which is bound to key, size and time."""

        def check(fields: Mapping[str, str]) -> int:
            self._require("POST", f"{path.rstrip('/')}/{fields.get('key', '')}", fields)
            return int(fields.get("limit") or 0)

        form = SignedForm(request, check)
        key, file = await form.read()
        with file:
            return await asyncio.to_thread(self._written, f"{path.rstrip('/')}/{key}", file, None)

    def _written(self, path: str, file: Any, content_type: str | None) -> Response:
        store, key = self._place(path)
        file.seek(0)
        store.put(key, file, content_type or UNKNOWN_TYPE)
        if key.startswith(UPLOADS):
            bucket = unquote(path.removeprefix(self.prefix)).partition("/")[0]
            self._notify(ObjectLocation(SOURCE, bucket, key))
        return Response(204, [], b"")

    def _place(self, path: str) -> tuple[DirectoryStore, str]:
        bucket, _, key = unquote(path.removeprefix(self.prefix)).partition("/")
        return DirectoryStore(self._root / bucket, f"nfs://{bucket}", "", ""), key


async def _limited(request: Request, most: int) -> Any:
    """The body's chunks. Raises ``TooLarge`` as soon as there are more bytes than that."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise TooLarge
        yield chunk
