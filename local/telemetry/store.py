"""Spans of the last day in SQLite."""

import json
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
CREATE TABLE IF NOT EXISTS spans (
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT, name TEXT NOT NULL, kind TEXT NOT NULL,
    function TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, image_id TEXT,
    attributes TEXT NOT NULL, links TEXT NOT NULL, PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spans_image ON spans (image_id) WHERE image_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS spans_started ON spans (started_ns);
"""
COLUMNS = "trace_id, span_id, parent_id, name, kind, function, started_ns, ended_ns, attributes, links"
OF_TRACE = f"SELECT {COLUMNS} FROM spans WHERE trace_id = ? ORDER BY started_ns, span_id"  # noqa: S608
TRACES_OF_IMAGE = "SELECT trace_id FROM spans WHERE image_id = ? GROUP BY 1 ORDER BY min(started_ns) LIMIT 20"
KEPT_NS, KEPT_SPANS = 24 * 3600 * 10**9, 500_000
"""A day, and about 300 MB."""


class SpanStore:
    """``Traces`` in a file that one process writes and others may read. A file that is missing holds no spans."""

    def __init__(self, path: Path) -> None:
        self._path, self._writing = path, threading.Lock()

    def of_image(self, image_id: str) -> list[KeptSpan]:
        with self._reading() as database:
            traces = database.execute(TRACES_OF_IMAGE, [image_id]).fetchall() if database else []
            return [span for (trace_id,) in traces for span in _of_trace(database, trace_id)]

    def of_trace(self, trace_id: str) -> list[KeptSpan]:
        with self._reading() as database:
            return _of_trace(database, trace_id)

    def add(self, requests: Iterable[dict[str, Any]]) -> int:
        """Keep the spans of export requests, and return their number; a span that is there already stays."""
        rows = [_row(span) for request in requests for span in spans_of(request)]
        with self._writing, closing(self._open()) as database, database:
            database.executemany(f"INSERT OR IGNORE INTO spans VALUES ({', '.join('?' * 11)})", rows)  # noqa: S608
        return len(rows)

    def purge(self, now_ns: int | None = None) -> int:
        """Delete spans older than a day, and the oldest of too many; returns their number."""
        oldest = (time.time_ns() if now_ns is None else now_ns) - KEPT_NS
        newest = "SELECT started_ns FROM spans ORDER BY started_ns DESC LIMIT 1 OFFSET ?"
        with self._writing, closing(self._open()) as database, database:
            surplus = database.execute(newest, [KEPT_SPANS]).fetchone()
            limit = max(oldest, surplus[0] + 1 if surplus else 0)
            return database.execute("DELETE FROM spans WHERE started_ns < ?", [limit]).rowcount

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


def _of_trace(database: sqlite3.Connection | None, trace_id: str) -> list[KeptSpan]:
    rows = database.execute(OF_TRACE, [trace_id]).fetchall() if database else []
    return [_kept(row) for row in rows]


def _kept(row: Any) -> KeptSpan:
    fields = dict(zip(COLUMNS.split(", "), row, strict=True))
    links: Any = map(tuple, json.loads(fields.pop("links")))
    return KeptSpan(**fields | {"attributes": json.loads(fields["attributes"]), "links": tuple(links)})


def _row(span: KeptSpan) -> tuple[Any, ...]:
    fields = (span.trace_id, span.span_id, span.parent_id, span.name, span.kind, span.function)
    times = (span.started_ns, span.ended_ns, span.attributes.get(IMAGE))
    return (*fields, *times, json.dumps(dict(span.attributes)), json.dumps(span.links))


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
