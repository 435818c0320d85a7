"""Serve the template's HTTP routes with the limits and error responses of API Gateway's HTTP API."""

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import uvicorn
from starlette.types import Receive, Scope, Send

from local.runner.http_event import Response, match_route, message, request_event, response_of
from local.runner.object_urls import ObjectUrls
from local.runner.template import HttpEvent
from local.runner.worker import Pool

MAX_BODY_BYTES = 10 * 1024 * 1024
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Route:
    event: HttpEvent
    pool: Pool


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class HttpGateway:
    """Serve the template's HTTP routes on every port of ``ports``, in a background thread."""

    def __init__(
        self, routes: Sequence[Route], host: str, ports: Sequence[int], objects: ObjectUrls | None = None
    ) -> None:
        self._objects = objects
        self._pools = {route.event: route.pool for route in routes}
        self._host, self._addresses = f"{host}:{ports[0]}", [(host, port) for port in ports]
        threads = sum(pool.limit for pool in set(self._pools.values()))
        self._callers = ThreadPoolExecutor(threads + 4, thread_name_prefix="http")
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            log_level="warning",
            lifespan="off",
            access_log=False,
            ws="none",
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        sockets = [_listen(address) for address in self._addresses]
        self._thread = threading.Thread(target=self._server.run, args=[sockets], name="http gateway", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the HTTP gateway did not start on {self._host}")
            time.sleep(0.01)

    def stop(self, seconds: float = 3.0) -> None:
        """Accept no new requests, and give requests in flight ``seconds`` to end."""
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(seconds)
        self._callers.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            response = await self._respond(scope, receive)
        except ClientGone:
            return
        length = [(b"content-length", str(len(response.body)).encode())]
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers + length})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        if self._objects is not None and path.startswith(self._objects.prefix):
            return await self._objects.respond(scope, receive)
        match = match_route(self._pools, scope["method"], path)
        if match is None:
            return message(404, "Not Found")
        body = await _body(receive)
        if body is None:
            return message(413, "Request Entity Too Large")
        route, parameters = match
        event = request_event(scope, body, route, parameters, self._host)
        call = asyncio.get_running_loop().run_in_executor(self._callers, self._pools[route].invoke, event)
        try:
            return response_of(await asyncio.wait_for(asyncio.shield(call), TIMEOUT_SECONDS))
        except TimeoutError:
            return message(503, "Service Unavailable")


def _listen(address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    return listener


async def _body(receive: Receive) -> bytes | None:
    """Return the request's body; None if it exceeds API Gateway's limit.

    A body over the limit is still read to its end: a client that is sending would not see the response.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        part = await receive()
        if part["type"] == "http.disconnect":
            raise ClientGone
        size += len(part.get("body", b""))
        if size <= MAX_BODY_BYTES:
            chunks.append(part.get("body", b""))
        if not part.get("more_body"):
            return b"".join(chunks) if size <= MAX_BODY_BYTES else None
