"""Connections to tenants' endpoints: each resolves, checks, and connects to an address that it has checked.

A check before the request would not hold: a name may lead elsewhere a moment later. So it is made where the socket is
opened, for urllib3 and, in the same way, for boto3.
"""

import socket
from ipaddress import ip_address
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import connection as sockets

from deeplens.egress.rules import Address, EgressRules, Resolve, check_address, check_host, check_spelling, resolved
from deeplens.errors import EndpointRefused

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
MOST_TRIED = 4
"""Addresses of one host, each of which may take the whole time."""


class CheckedConnection(HTTPConnection):
    """A connection, made a class for each set of rules by ``_pools``."""

    rules = EgressRules()
    resolve: Resolve = staticmethod(resolved)

    def _new_conn(self) -> socket.socket:
        if self.proxy is not None:
            raise EndpointRefused("a proxy would resolve the endpoint's name itself")
        # The name stays the connection's host: TLS asks for it and holds the certificate to it.
        addresses = check_host(self._dns_host.strip("[]"), self.port, self.rules, self.resolve)
        failure = OSError()
        for address in addresses[:MOST_TRIED]:
            try:
                return self._connected(address)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} took too long") from failure
        raise NewConnectionError(self, f"connecting to {self.host} failed: {failure}") from failure

    def _connected(self, address: Address) -> socket.socket:
        opened = sockets.create_connection(
            (str(address), self.port),
            self.timeout,
            source_address=self.source_address,
            socket_options=self.socket_options,
        )
        try:
            # Nothing was sent yet. Whatever stands between here and there, the other end is what it should be.
            check_address(ip_address(opened.getpeername()[0]), self.rules, self.host)
        except BaseException:
            opened.close()
            raise
        return opened


class EgressPool(PoolManager):
    """A urllib3 pool manager for webhooks: it follows no redirect, uses no proxy and repeats nothing.

    An answer's body is left to be read: as much of it as its reader has room for, before it closes the answer.
    Every request raises ``EndpointRefused`` instead of leaving for somewhere inside, and urllib3's own errors for an
    endpoint that does not answer.
    """

    def __init__(self, rules: EgressRules, resolve: Resolve = resolved, **options: Any) -> None:
        timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        super().__init__(**{"timeout": timeout, **options})
        self._rules = rules
        self.pool_classes_by_scheme = checked_pools(rules, resolve)

    def urlopen(self, method: str, url: str, *_: Any, **options: Any) -> BaseHTTPResponse:
        check_spelling(url, self._rules)
        chosen = {"preload_content": False, **options, "retries": False, "redirect": False}
        return super().urlopen(method, url, **chosen)


class EgressSession(URLLib3Session):
    """botocore's HTTP session with the same connections; it uses no proxy and follows no redirect."""

    def __init__(self, rules: EgressRules, resolve: Resolve = resolved, **options: Any) -> None:
        super().__init__(**{**options, "proxies": {}})
        self._rules = rules
        self._pool_classes_by_scheme.update(  # type: ignore[attr-defined]
            http=_pool(AWSHTTPConnectionPool, AWSHTTPConnection, rules, resolve),
            https=_pool(AWSHTTPSConnectionPool, AWSHTTPSConnection, rules, resolve),
        )

    def send(self, request: Any) -> Any:
        check_spelling(request.url, self._rules)
        try:
            return super().send(request)
        except HTTPClientError as error:
            # Unwrapped, or botocore would try again, and a store take it for one that is away.
            refused = error.kwargs.get("error")
            if isinstance(refused, EndpointRefused):
                raise refused from error
            raise


def guard(client: Any, rules: EgressRules, resolve: Resolve = resolved) -> Any:
    """The same boto3 client, fit for an endpoint that a tenant named; to be called before its first request.

    Parameters
    ----------
    client : made for this endpoint and shared with nobody.
    """
    config = client.meta.config
    client._endpoint.http_session = EgressSession(
        rules,
        resolve,
        timeout=(config.connect_timeout, config.read_timeout),
        max_pool_connections=config.max_pool_connections,
    )
    return client


def checked_pools(rules: EgressRules, resolve: Resolve = resolved) -> dict[str, type[Any]]:
    """urllib3's pool classes by scheme, their connections checked."""
    return {
        "http": _pool(HTTPConnectionPool, HTTPConnection, rules, resolve),
        "https": _pool(HTTPSConnectionPool, HTTPSConnection, rules, resolve),
    }


def _pool(pool: type[Any], connection: type[Any], rules: EgressRules, resolve: Resolve) -> type[Any]:
    """A pool class whose connections are checked; urllib3 takes classes, so the rules become part of one."""
    own = type(
        f"Checked{connection.__name__}",
        (CheckedConnection, connection),
        {"rules": rules, "resolve": staticmethod(resolve)},
    )
    return type(f"Checked{pool.__name__}", (pool,), {"ConnectionCls": own})
