"""Run clients in a separate process, so that they share no GIL with the measuring process."""

import http.client
import multiprocessing
import threading
import time
from dataclasses import dataclass, field

from deeplens.embedding.wire import HEADER_LENGTH

BUSY = 429


@dataclass(frozen=True, slots=True)
class Load:
    """A request that each of ``clients`` connections repeats for ``seconds``."""

    port: int
    path: str
    body: bytes
    header_length: int
    clients: int
    seconds: float


@dataclass(slots=True)
class LoadResult:
    """Latencies of successful requests, the number of requests refused with 429, and CPU seconds of the clients."""

    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def measure(load: Load) -> LoadResult:
    """Run the clients for about ``load.seconds``; each completes its last request."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, [load])


def _measure(load: Load) -> LoadResult:
    result, ready = LoadResult(), threading.Barrier(load.clients + 1)
    deadline = [0.0]
    threads = [threading.Thread(target=_client, args=[load, result, ready, deadline]) for _ in range(load.clients)]
    for thread in threads:
        thread.start()
    started, cpu = time.monotonic(), time.process_time()
    deadline[0] = started + load.seconds
    ready.wait()
    for thread in threads:
        thread.join()
    result.seconds, result.cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    return result


def _client(load: Load, result: LoadResult, ready: threading.Barrier, deadline: list[float]) -> None:
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
            result.refused += 1
            time.sleep(0.05)
            continue
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:200]!r}")
        result.latencies_ms.append((time.monotonic() - started) * 1000)
    connection.close()
