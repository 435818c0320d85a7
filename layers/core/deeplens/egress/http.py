"""Connect to tenants' endpoints only at addresses that were checked, for urllib3 and boto3.

The check is made where the socket is opened: a name that was checked before the request may resolve to another address
a moment later.
"""

import socket
from ipaddress import ip_address
from typing import Any

from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import connection as sockets

from deeplens.egress.rules import Address, EgressRules, Resolve, check_address, check_host, check_spelling, resolved
from deeplens.errors import EndpointRefused

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
MAX_TRIED_ADDRESSES = 4
"""Per host; each may take the whole timeout."""


class CheckedConnection(HTTPConnection):
    """A connection to a checked address; ``checked_pools`` makes a subclass for each set of rules."""

    rules = EgressRules()
    resolve: Resolve = staticmethod(resolved)

    def _new_conn(self) -> socket.socket:
        if self.proxy is not None:
            raise EndpointRefused("tenants' endpoints are not reached through proxies, which resolve names themselves")
        # The name stays the connection's host, as TLS sends it and checks the certificate against it.
        addresses = check_host(self._dns_host.strip("[]"), self.port, self.rules, self.resolve)
        failure = OSError()
        for address in addresses[:MAX_TRIED_ADDRESSES]:
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
            # Nothing was sent yet: check which address was really reached.
            check_address(ip_address(opened.getpeername()[0]), self.rules, self.host)
        except BaseException:
            opened.close()
            raise
        return opened


class EgressPool(PoolManager):
    """A urllib3 pool manager for webhooks, without redirects, proxies and retries.

    The body of an answer is not read; the caller reads as much as it wants and closes the answer. A request to an
    internal address raises ``EndpointRefused``; an endpoint that does not answer raises urllib3's errors.
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
    """botocore's HTTP session over checked connections, without redirects and proxies."""

    def __init__(self, rules: EgressRules, resolve: Resolve = resolved, **options: Any) -> None:
        super().__init__(**{**options, "proxies": {}})
        self._rules = rules
        pools = checked_pools(rules, resolve, AWSHTTPConnectionPool, AWSHTTPSConnectionPool)
        self._pool_classes_by_scheme.update(pools)  # type: ignore[attr-defined]

    def send(self, request: Any) -> Any:
        check_spelling(request.url, self._rules)
        try:
            return super().send(request)
        except HTTPClientError as error:
            # Unwrapped: botocore would retry it, and the store would report ``StoreUnavailable``.
            refused = error.kwargs.get("error")
            if isinstance(refused, EndpointRefused):
                raise refused from error
            raise


def guard(client: Any, rules: EgressRules, resolve: Resolve = resolved) -> Any:
    """Make a boto3 client of one endpoint use checked connections, before its first request, and return it."""
    config = client.meta.config
    timeout, connections = (config.connect_timeout, config.read_timeout), config.max_pool_connections
    session = EgressSession(rules, resolve, timeout=timeout, max_pool_connections=connections)
    client._endpoint.http_session = session
    return client


def checked_pools(rules: EgressRules, resolve: Resolve, *pools: type[Any]) -> dict[str, type[Any]]:
    """Return the pool classes by scheme, with checked connections; urllib3 takes classes, so they carry the rules."""
    attributes = {"rules": rules, "resolve": staticmethod(resolve)}
    checked = {}
    for pool in pools or (HTTPConnectionPool, HTTPSConnectionPool):
        plain = pool.ConnectionCls
        connection = type(f"Checked{plain.__name__}", (CheckedConnection, plain), attributes)
        checked[pool.scheme] = type(f"Checked{pool.__name__}", (pool,), {"ConnectionCls": connection})
    return checked
