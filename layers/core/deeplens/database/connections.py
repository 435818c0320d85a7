"""A pool of one connection per database: the platform's, and those of the most recently used tenants."""

import select
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.rows import dict_row

from deeplens.database.credentials import with_json_credentials
from deeplens.errors import DatabaseUnavailable, SecretNotFound, SecretStoreUnavailable
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed

type Connection = psycopg.Connection[dict[str, Any]]
type Values = Sequence[Any] | Mapping[str, Any]

CLOSE_AFTER_IDLE_SECONDS = 60.0
CHECK_AFTER_IDLE_SECONDS = 5.0
"""A connection that was idle for longer is checked before use: a frozen environment may have lost it silently."""
POOL_TIMEOUT_SECONDS = 10.0
"""How long a thread waits while other threads use all tenant connections."""
READ_AGAIN_SECONDS = 900.0
"""Age of the platform's URL at which a new connection reads its secret again: the old one may still be valid."""
READ_AGAIN_AFTER_FAILURE_SECONDS = 5.0
"""Shortest time between two readings because the server did not let us in."""


@dataclass(slots=True)
class PooledConnection:
    """A connection for one thread at a time; ``users`` counts the threads that use it or wait for it."""

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
            **encryption(),
            autocommit=True,
            connect_timeout=5,
            tcp_user_timeout=10_000,  # milliseconds
            row_factory=dict_row,
            prepare_threshold=2,
        )


def encryption() -> dict[str, Any]:
    """Options of every connection: a URL cannot weaken PGSSLMODE=verify-full, and then needs no option itself."""
    modes = [option.val for option in Conninfo.get_defaults() if option.keyword == b"sslmode"]
    return {"sslmode": "verify-full"} if modes == [b"verify-full"] else {}


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors about the server; errors about a statement or its values pass."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailable(type(error).__name__) from error


class PlatformUrl:
    """Connects with the credentials that the platform's secret has now; one thread at a time.

    A server that refuses a password answers as one that is unavailable, so every failure reads the secret again.

    Parameters
    ----------
    url : as it was first read.
    read : reads it again.
    """

    def __init__(self, url: str, read: Callable[[], str], monotonic: Callable[[], float]) -> None:
        self._url, self._read, self._monotonic = url, read, monotonic
        self._read_at, self._failed_at = monotonic(), float("-inf")

    def connect(self) -> Connection:
        """Open a connection. Raises ``DatabaseUnavailable``."""
        now = self._monotonic()
        if now - self._read_at >= READ_AGAIN_SECONDS:
            self._read_again()
        try:
            return connect(self._url)
        except DatabaseUnavailable:
            if now - self._failed_at < READ_AGAIN_AFTER_FAILURE_SECONDS:
                raise
            self._failed_at = now
            if not self._read_again():
                raise
        return connect(self._url)

    def _read_again(self) -> bool:
        """Whether the URL has changed; without an answer of the secret store it has not."""
        before = self._url
        with suppress(SecretStoreUnavailable, SecretNotFound):
            self._url, self._read_at = self._read(), self._monotonic()
        return self._url != before


class HasDatabase(Protocol):
    """Anything with its own database: a tenant."""

    @property
    def id(self) -> str: ...

    @property
    def database_url(self) -> str: ...


class Connections:
    """Lends connections, each to one thread at a time. Every method raises ``DatabaseUnavailable``.

    Parameters
    ----------
    platform_url : the platform database; tenants without their own server are on the same server.
    limit : maximum of open tenant connections, whatever the number of threads.
    tenant_key : the passwords of the tenants' roles are derived from it; without one, no tenant's database opens.
    read_platform_url : reads ``platform_url`` again, as its credentials rotate; by default they never do.
    admin_url : reads the administrator's URL of the platform database; by default ``platform_url`` is it.
    server_credentials : reads those of a tenant's own server, ``username`` and ``password`` as JSON; empty if none.
    """

    def __init__(
        self,
        platform_url: str,
        limit: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        tenant_key: str = "",
        read_platform_url: Callable[[], str] | None = None,
        admin_url: Callable[[], str] = str,
        server_credentials: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.platform_url, self.tenant_key, self._admin_url = platform_url, tenant_key, admin_url
        self._server_credentials = server_credentials
        self._platform = PlatformUrl(platform_url, read_platform_url or (lambda: platform_url), monotonic)
        self._limit, self._monotonic = limit, monotonic
        self._pool: OrderedDict[str, PooledConnection] = OrderedDict()
        self._released = threading.Condition()

    @property
    def admin_url(self) -> str:
        """The platform database with the credentials that may create databases and roles."""
        return self._admin_url() or self.platform_url

    def server_url(self, tenant_id: str, address: str | None) -> str:
        """The server of a tenant, by default the platform's, with the credentials that may create databases.

        Raises ``SecretStoreUnavailable``.
        """
        if not address:
            return self.admin_url
        credentials = self._server_credentials(tenant_id)
        # An address of an older version has its credentials.
        return with_json_credentials(address, credentials) if credentials else address

    def platform(self) -> AbstractContextManager[Connection]:
        """Lend the platform connection; each statement commits by itself outside a transaction or pipeline."""
        return self._borrow(self.platform_url)

    def tenant(self, tenant: HasDatabase) -> AbstractContextManager[Connection]:
        """Lend a tenant's connection. A thread may hold one tenant's connection at a time."""
        return self._borrow(tenant.database_url)

    def close(self) -> None:
        with self._released:
            for pooled in self._pool.values():
                pooled.close()
            self._pool.clear()

    def open_tenants(self) -> int:
        with self._released:
            return len(self._tenants())

    @contextmanager
    def _borrow(self, url: str) -> Iterator[Connection]:
        if not url:
            raise DatabaseUnavailable("DATABASE_URL or, for a tenant's database, TENANT_DATABASE_KEY is not set")
        database = "platform" if url == self.platform_url else "tenant"
        attributes = {names.DB_SYSTEM: "postgresql", names.DB_NAMESPACE: database}
        pooled = self._reserve(url)
        try:
            with (
                timed("database"),
                tracing.span(f"postgresql {database}", attributes=attributes),
                pooled.lock,
                translated(),
            ):
                yield self._alive(url, pooled)
                pooled.used_at = self._monotonic()
        finally:
            with self._released:
                pooled.users -= 1
                self._released.notify_all()

    def _reserve(self, url: str) -> PooledConnection:
        """The entry of ``url``, counted as used so that no thread closes it."""
        with self._released:
            self._close_idle()
            self._evict(url)
            pooled = self._pool.setdefault(url, PooledConnection())
            self._pool.move_to_end(url)
            pooled.users += 1
            return pooled

    def _evict(self, url: str) -> None:
        deadline = time.monotonic() + POOL_TIMEOUT_SECONDS
        while url != self.platform_url and url not in self._pool and len(self._tenants()) >= self._limit:
            unused = next((name for name in self._tenants() if not self._pool[name].users), None)
            if unused is not None:
                self._pool.pop(unused).close()
            elif not self._released.wait(deadline - time.monotonic()):
                raise DatabaseUnavailable("every tenant connection is in use")

    def _close_idle(self) -> None:
        oldest = self._monotonic() - CLOSE_AFTER_IDLE_SECONDS
        for name in [name for name, pooled in self._pool.items() if not pooled.users and pooled.used_at < oldest]:
            self._pool.pop(name).close()

    def _tenants(self) -> list[str]:
        """URLs of tenants in the pool, least recently used first."""
        return [name for name in self._pool if name != self.platform_url]

    def _alive(self, url: str, pooled: PooledConnection) -> Connection:
        """The connection of this entry, opened or replaced if necessary."""
        recent = self._monotonic() - pooled.used_at < CHECK_AFTER_IDLE_SECONDS
        if pooled.connection is None or not _answers(pooled.connection, recent):
            pooled.close()
            pooled.connection = self._platform.connect() if url == self.platform_url else connect(url)
        return pooled.connection


class PlatformAdapter:
    """The base of adapters that run single statements in the platform database."""

    def __init__(self, connections: Connections) -> None:
        self._connections, self._platform = connections, connections.platform

    def _rows(self, statement: str, values: Values | None = None) -> list[dict[str, Any]]:
        with self._platform() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def _row(self, statement: str, values: Values | None = None) -> dict[str, Any] | None:
        with self._platform() as connection:
            return connection.execute(statement.encode(), values).fetchone()

    def _execute(self, statement: str, values: Values | None = None) -> int:
        """Run a statement without result; returns how many rows it changed."""
        with self._platform() as connection:
            return connection.execute(statement.encode(), values).rowcount


class TenantAdapter:
    """The base of adapters that run single statements in a tenant's database."""

    def __init__(self, connections: Connections) -> None:
        self._opened = connections.tenant

    def _rows(self, tenant: HasDatabase, statement: str, values: Values | None = None) -> list[dict[str, Any]]:
        with self._opened(tenant) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def _row(self, tenant: HasDatabase, statement: str, values: Values | None = None) -> dict[str, Any] | None:
        with self._opened(tenant) as connection:
            return connection.execute(statement.encode(), values).fetchone()

    def _execute(self, tenant: HasDatabase, statement: str, values: Values | None = None) -> int:
        """Run a statement without result; returns how many rows it changed."""
        with self._opened(tenant) as connection:
            return connection.execute(statement.encode(), values).rowcount


def _answers(connection: Connection, recent: bool) -> bool:
    if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
        return False
    if recent and not _readable(connection.fileno()):
        return True
    with suppress(psycopg.Error):
        connection.execute("")
        return True
    return False


def _readable(descriptor: int) -> bool:
    """Whether the server sent a message unasked: usually that it shuts down. Costs no round trip."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
