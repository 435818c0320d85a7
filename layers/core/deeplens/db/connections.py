"""Connections of one execution environment: one to the platform, a few to tenants, least recently used closed first."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deeplens.domain import Tenant
from deeplens.errors import DatabaseUnavailable

type Connection = psycopg.Connection[dict[str, Any]]

IDLE_SECONDS = 60.0
TRUSTED_SECONDS = 1.0
"""A connection used this recently is not probed again."""
OPTIONS = "-c statement_timeout=20000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=30000"


@dataclass(slots=True)
class Held:
    """An open connection and the lock of whoever uses it."""

    connection: Connection
    used_at: float
    lock: threading.RLock = field(default_factory=threading.RLock)


def connect(url: str) -> Connection:
    return psycopg.connect(
        url, autocommit=True, connect_timeout=5, options=OPTIONS, row_factory=dict_row, prepare_threshold=2
    )


class Connections:
    """Hands out connections, one user at a time each.

    Parameters
    ----------
    platform_url : the platform database; tenants without a server of their own live on the same one.
    limit : most open tenant connections.
    """

    def __init__(self, platform_url: str, limit: int = 4, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.platform_url = platform_url
        self._limit, self._monotonic = limit, monotonic
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def platform(self) -> Iterator[Connection]:
        """The platform connection; each statement commits by itself unless ``connection.transaction()`` is used."""
        with self._borrow(self.platform_url) as connection:
            yield connection

    @contextmanager
    def tenant(self, tenant: Tenant) -> Iterator[Connection]:
        with self._borrow(tenant.database_url) as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            for held in self._held.values():
                _close(held)
            self._held.clear()

    def open_tenants(self) -> int:
        with self._lock:
            return sum(url != self.platform_url for url in self._held)

    @contextmanager
    def _borrow(self, url: str) -> Iterator[Connection]:
        if not url:
            raise DatabaseUnavailable("DATABASE_URL is not set")
        held = self._take(url)
        try:
            yield held.connection
            held.used_at = self._monotonic()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if held.connection.broken or held.connection.closed:
                self._forget(url, held)
            raise DatabaseUnavailable(type(error).__name__) from error
        finally:
            held.lock.release()

    def _take(self, url: str) -> Held:
        """The connection of ``url``, locked and alive. The caller releases its lock."""
        while True:
            with self._lock:
                self._close_idle(url)
                held = self._held.get(url)
                if held is not None:
                    self._held.move_to_end(url)
            if held is None:
                held = self._open(url)
            held.lock.acquire()
            if self._usable(url, held):
                return held
            held.lock.release()

    def _usable(self, url: str, held: Held) -> bool:
        """Whether the connection still answers; one that does not is forgotten, and another is opened."""
        if not held.connection.closed:
            if self._monotonic() - held.used_at < TRUSTED_SECONDS:
                return True
            with suppress(psycopg.Error):
                held.connection.execute("")
                return True
        self._forget(url, held)
        return False

    def _open(self, url: str) -> Held:
        try:
            opened = Held(connect(url), self._monotonic())
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(type(error).__name__) from error
        with self._lock:
            raced = self._held.get(url)
            if raced is not None:
                _close(opened)
                return raced
            self._make_room(url)
            self._held[url] = opened
        return opened

    def _make_room(self, url: str) -> None:
        tenants = [name for name in self._held if name not in (self.platform_url, url)]
        excess = len(tenants) + 1 - self._limit if url != self.platform_url else 0
        for name in tenants:
            if excess <= 0:
                return
            excess -= self._close_unused(name)

    def _close_idle(self, wanted: str) -> None:
        now = self._monotonic()
        for name in [n for n, h in self._held.items() if n != wanted and now - h.used_at > IDLE_SECONDS]:
            self._close_unused(name)

    def _close_unused(self, name: str) -> bool:
        held = self._held[name]
        if not held.lock.acquire(blocking=False):
            return False
        del self._held[name]
        _close(held)
        held.lock.release()
        return True

    def _forget(self, url: str, held: Held) -> None:
        with self._lock:
            if self._held.get(url) is held:
                del self._held[url]
        _close(held)


def _close(held: Held) -> None:
    with suppress(psycopg.Error):
        held.connection.close()
