"""Connections of one execution environment: one to the platform, a few to tenants, least recently used closed first."""

import select
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from deeplens.errors import DatabaseUnavailable

type Connection = psycopg.Connection[dict[str, Any]]

IDLE_SECONDS = 60.0
TRUSTED_SECONDS = 5.0
"""A connection unused for longer is asked before it is used: a frozen environment may have lost it silently."""
ROOM_SECONDS = 10.0
"""How long a thread waits while other threads use every tenant connection."""
OPTIONS = "-c statement_timeout=20000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=30000"


@dataclass(slots=True)
class Held:
    """A place for one connection, used by one thread at a time; ``users`` counts those that use or await it."""

    connection: Connection | None = None
    used_at: float = 0.0
    users: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def close(self) -> None:
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()


def connect(url: str) -> Connection:
    """Open a connection. Raises ``DatabaseUnavailable``."""
    with translated():
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=5,
            tcp_user_timeout=10_000,  # milliseconds
            options=OPTIONS,
            row_factory=dict_row,
            prepare_threshold=2,
        )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors about the server into ours; errors about a statement or its values pass."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailable(type(error).__name__) from error


class HasDatabase(Protocol):
    """Anything with a database of its own: a tenant."""

    @property
    def database_url(self) -> str: ...


class Connections:
    """Hands out connections, one user at a time each. Every method raises ``DatabaseUnavailable``.

    Parameters
    ----------
    platform_url : the platform database; tenants without a server of their own live on the same one.
    limit : most open tenant connections, whatever the number of threads.
    tenant_key : what the passwords of the tenants' roles follow from.
    """

    def __init__(
        self,
        platform_url: str,
        limit: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        tenant_key: str = "",
    ) -> None:
        self.platform_url, self.tenant_key = platform_url, tenant_key
        self._limit, self._monotonic = limit, monotonic
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._room = threading.Condition()

    @contextmanager
    def platform(self) -> Iterator[Connection]:
        """The platform connection; each statement commits by itself unless a transaction or pipeline is used."""
        with self._borrow(self.platform_url) as connection:
            yield connection

    @contextmanager
    def tenant(self, tenant: HasDatabase) -> Iterator[Connection]:
        """A tenant's connection. A thread holds at most one tenant's at a time."""
        with self._borrow(tenant.database_url) as connection:
            yield connection

    def close(self) -> None:
        with self._room:
            for held in self._held.values():
                held.close()
            self._held.clear()

    def open_tenants(self) -> int:
        with self._room:
            return len(self._tenants())

    @contextmanager
    def _borrow(self, url: str) -> Iterator[Connection]:
        if not url:
            raise DatabaseUnavailable("DATABASE_URL is not set")
        held = self._reserve(url)
        try:
            with held.lock, translated():
                yield self._alive(url, held)
                held.used_at = self._monotonic()
        finally:
            with self._room:
                held.users -= 1
                self._room.notify_all()

    def _reserve(self, url: str) -> Held:
        """The place of ``url``, counted as used so that nobody closes it."""
        with self._room:
            self._close_idle()
            self._make_room(url)
            held = self._held.setdefault(url, Held())
            self._held.move_to_end(url)
            held.users += 1
            return held

    def _make_room(self, url: str) -> None:
        deadline = time.monotonic() + ROOM_SECONDS
        while url != self.platform_url and url not in self._held and len(self._tenants()) >= self._limit:
            unused = next((name for name in self._tenants() if not self._held[name].users), None)
            if unused is not None:
                self._held.pop(unused).close()
            elif not self._room.wait(deadline - time.monotonic()):
                raise DatabaseUnavailable("every tenant connection is in use")

    def _close_idle(self) -> None:
        oldest = self._monotonic() - IDLE_SECONDS
        for name in [name for name, held in self._held.items() if not held.users and held.used_at < oldest]:
            self._held.pop(name).close()

    def _tenants(self) -> list[str]:
        """URLs of tenants that have a place, least recently used first."""
        return [name for name in self._held if name != self.platform_url]

    def _alive(self, url: str, held: Held) -> Connection:
        """The connection of this place, opened or replaced where it has to be."""
        trusted = self._monotonic() - held.used_at < TRUSTED_SECONDS
        if held.connection is None or not _answers(held.connection, trusted):
            held.close()
            held.connection = connect(url)
        return held.connection


def _answers(connection: Connection, trusted: bool) -> bool:
    if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
        return False
    if trusted and not _readable(connection.fileno()):
        return True
    with suppress(psycopg.Error):
        connection.execute("")
        return True
    return False


def _readable(descriptor: int) -> bool:
    """Whether the server said something unasked: usually that it goes away. Costs no round trip."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
