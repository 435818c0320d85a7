"""Signed URLs of directory stores: what S3 does for its own presigned ones."""

import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from deeplens.errors import PipelineError
from deeplens.storage.directory import DirectoryStore
from deeplens.storage.signing import PREFIX, verify

from local.runner.http_event import Response, message


class ObjectUrls:
    """Answers ``GET /_objects/{bucket}/{key}?expires=…&signature=…``.

    Parameters
    ----------
    root : folder of the buckets.
    secret : that the URLs are signed with; empty means that none is good.
    """

    prefix = f"{PREFIX}/"

    def __init__(self, root: Path, secret: str) -> None:
        self._root, self._secret = root, secret

    def answer(self, method: str, path: str, query: Mapping[str, str]) -> Response:
        """The object, 403 without a good signature, 404 where nothing is.

        Parameters
        ----------
        path : as it was requested, percent-encoded.
        """
        if method != "GET" or not verify(self._secret, method, path, query, time.time()):
            return message(403, "Forbidden")
        bucket, _, key = unquote(path.removeprefix(self.prefix)).partition("/")
        store = DirectoryStore(self._root / bucket, f"nfs://{bucket}", "", "")
        try:
            return Response(200, [(b"content-type", store.head(key).content_type.encode())], store.get(key))
        except (PipelineError, ValueError):
            return message(404, "Not Found")
