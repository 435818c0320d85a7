"""Clients in a process of their own, so that they share no interpreter lock with what they measure."""

import http.client
import multiprocessing
import threading
import time
from dataclasses import dataclass, field

from deeplens.embedding.wire import HEADER_LENGTH

BUSY = 429


@dataclass(frozen=True, slots=True)
class Load:
    """The same request from each of ``clients`` connections, again and again."""

    port: int
    path: str
    body: bytes
    header_length: int
    clients: int
    seconds: float


@dataclass(slots=True)
class Measured:
    """``latencies_ms`` of answered requests; ``cpu_seconds`` of the clients."""

    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def measure(load: Load) -> Measured:
    """Run the clients for about ``load.seconds``; each finishes the request that it has begun."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, [load])


def _measure(load: Load) -> Measured:
    found, ready = Measured(), threading.Barrier(load.clients + 1)
    deadline = [0.0]
    threads = [threading.Thread(target=_client, args=[load, found, ready, deadline]) for _ in range(load.clients)]
    for thread in threads:
        thread.start()
    started, cpu = time.monotonic(), time.process_time()
    deadline[0] = started + load.seconds
    ready.wait()
    for thread in threads:
        thread.join()
    found.seconds, found.cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    return found


def _client(load: Load, found: Measured, ready: threading.Barrier, deadline: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=120)
    connection.connect()
    headers = {HEADER_LENGTH: str(load.header_length), "Content-Type": "application/octet-stream"}
    ready.wait()
    while time.monotonic() < deadline[0]:
        started = time.monotonic()
        connection.request("POST", load.path, load.body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == BUSY:
            found.refused += 1
            time.sleep(0.05)
            continue
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:200]!r}")
        found.latencies_ms.append((time.monotonic() - started) * 1000)
    connection.close()
