"""Spans of the last day in SQLite."""

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from deeplens.telemetry.conventions import IMAGE, Kind
from deeplens.traces.model import KeptSpan

FILE = "telemetry.db"
"""In the folder of the stack's state."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, spans INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ids (
    id TEXT NOT NULL, request INTEGER NOT NULL, PRIMARY KEY (id, request)
) WITHOUT ROWID;
"""
BODIES = "SELECT body FROM ids JOIN requests ON requests.id = ids.request WHERE ids.id = ? ORDER BY requests.id"
SURPLUS = "SELECT id FROM (SELECT id, sum(spans) OVER (ORDER BY id DESC) AS newer FROM requests) WHERE newer > ?"
TRACE_ID = re.compile(rb'"traceId"\s*:\s*"([0-9a-fA-F]{32})"')
IMAGE_ID = re.compile(rb'"deeplens\.image\.id"\s*,\s*"value"\s*:\s*\{\s*"stringValue"\s*:\s*"([^"]+)"')
KEPT_NS, KEPT_SPANS = 24 * 3600 * 10**9, 500_000
"""A day, and about 300 MB."""
MAX_TRACES = 20


class SpanStore:
    """``Traces`` in a file that one process writes and others may read. A file that is missing holds no spans.

    Requests are kept as they came, with the ids of their traces and images: a span is seldom looked at, and to parse
    each costs more than to record it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._writing = path, threading.Lock()

    def of_image(self, image_id: str) -> list[KeptSpan]:
        with self._reading() as database:
            own = [span for span in _spans(database, image_id) if span.attributes.get(IMAGE) == image_id]
            traces = list(dict.fromkeys(span.trace_id for span in own))[:MAX_TRACES]
            return [span for trace_id in traces for span in _of_trace(database, trace_id)]

    def of_trace(self, trace_id: str) -> list[KeptSpan]:
        with self._reading() as database:
            return _of_trace(database, trace_id)

    def add(self, bodies: Iterable[bytes], now_ns: int | None = None) -> None:
        """Keep export requests of OTLP JSON, in one transaction."""
        received = time.time_ns() if now_ns is None else now_ns
        with self._writing, closing(self._open()) as database, database:
            for body in bodies:
                values = [received, body.count(b'"endTimeUnixNano"'), body]
                request = database.execute("INSERT INTO requests (received_ns, spans, body) VALUES (?, ?, ?)", values)
                rows = [(found, request.lastrowid) for found in _ids(body)]
                database.executemany("INSERT INTO ids VALUES (?, ?)", rows)

    def purge(self, now_ns: int | None = None) -> int:
        """Delete requests older than a day, and the oldest of too many spans; returns their number."""
        oldest = (time.time_ns() if now_ns is None else now_ns) - KEPT_NS
        with self._writing, closing(self._open()) as database, database:
            old = database.execute("SELECT max(id) FROM requests WHERE received_ns < ?", [oldest]).fetchone()
            surplus = database.execute(f"{SURPLUS} ORDER BY id DESC LIMIT 1", [KEPT_SPANS]).fetchone()
            last = max(old[0] or 0, surplus[0] if surplus else 0)
            database.execute("DELETE FROM ids WHERE request <= ?", [last])
            return database.execute("DELETE FROM requests WHERE id <= ?", [last]).rowcount

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5)
        # A crash of the machine may cost the last spans, nothing else.
        database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {SCHEMA}")
        return database

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self._path.exists():
            yield None
            return
        with closing(sqlite3.connect(self._path, timeout=5)) as database:
            yield database


def _ids(body: bytes) -> set[str]:
    """The ids of the traces and images of a request."""
    images = IMAGE_ID.findall(body)
    if len(images) == body.count(f'"{IMAGE}"'.encode()):
        return {found.decode().lower() for found in TRACE_ID.findall(body)} | {found.decode() for found in images}
    # Another exporter orders the fields otherwise.
    spans = _parsed(body)
    return {span.trace_id for span in spans} | {
        str(span.attributes[IMAGE]) for span in spans if IMAGE in span.attributes
    }


def _of_trace(database: sqlite3.Connection | None, trace_id: str) -> list[KeptSpan]:
    return [span for span in _spans(database, trace_id) if span.trace_id == trace_id]


def _spans(database: sqlite3.Connection | None, sought: str) -> list[KeptSpan]:
    """The spans of the requests that have an id, each once, by start."""
    bodies = database.execute(BODIES, [sought]).fetchall() if database else []
    spans = {(span.trace_id, span.span_id): span for (body,) in reversed(bodies) for span in _parsed(body)}
    return sorted(spans.values(), key=lambda span: (span.started_ns, span.span_id))


def _parsed(body: bytes) -> list[KeptSpan]:
    """The spans of a request; none where it is not OTLP JSON."""
    try:
        return list(spans_of(json.loads(body)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def spans_of(request: dict[str, Any]) -> Iterator[KeptSpan]:
    """The spans of an export request as OTLP JSON. Raises ``ValueError``, ``KeyError``, ``TypeError``."""
    for group in request["resourceSpans"]:
        function = str(_attributes(group.get("resource", {})).get("faas.name", ""))
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                yield KeptSpan(
                    span["traceId"].lower(),
                    span["spanId"].lower(),
                    span.get("parentSpanId") or None,
                    span["name"],
                    Kind(span.get("kind") or Kind.INTERNAL).name.lower(),
                    function,
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    _attributes(span),
                    tuple((link["traceId"], link["spanId"]) for link in span.get("links", [])),
                )


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {given["key"]: _value(given["value"]) for given in holder.get("attributes", [])}


def _value(given: dict[str, Any]) -> Any:
    ((kind, value),) = given.items()
    return int(value) if kind == "intValue" else value
