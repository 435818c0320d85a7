"""JSON documents at addresses that tenants name: metadata and key sets, kept for some minutes."""

import time
from collections.abc import Callable
from typing import Any

from deeplens.common.resolve import Lazy
from deeplens.identity.federation.ports import ProviderEndpoint

CACHE_SECONDS, REFRESH_SECONDS = 600.0, 10.0
"""How long a document is kept; a reader who misses a key has it read again, though not more often."""
MAX_CACHED_DOCUMENTS = 200


class CachedDocuments:
    """Reads documents through ``egress``. Raises ``ProviderFault``."""

    def __init__(self, endpoint: Lazy[ProviderEndpoint], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._endpoint, self._monotonic = endpoint, monotonic
        self._documents = dict[str, tuple[float, Any]]()

    def get(self, url: str, refresh: bool = False) -> Any:
        read_at, document = self._documents.get(url, (float("-inf"), None))
        if self._monotonic() - read_at >= (REFRESH_SECONDS if refresh else CACHE_SECONDS):
            document = self._endpoint().get(url)
            if len(self._documents) >= MAX_CACHED_DOCUMENTS:
                self._documents.clear()
            self._documents[url] = (self._monotonic(), document)
        return document

    def forget(self) -> None:
        self._documents.clear()
