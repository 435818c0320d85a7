"""Record the state of each file in SQLite, so that memory stays small and an interrupted run resumes."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from local.upload.files import printable

type State = Literal["sending", "sent", "known", "same", "failed", "skipped"]
SETTLED = ("sent", "known", "same", "skipped")
SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, sha256 TEXT, state TEXT NOT NULL,
    key TEXT, image_id TEXT, code TEXT, reason TEXT, run INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_sha256 ON files (sha256);
CREATE INDEX IF NOT EXISTS files_run ON files (run, state);
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY);
"""
UPSERT = """
INSERT INTO files (path, size, modified_ns, sha256, state, key, image_id, code, reason, run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET size = excluded.size, modified_ns = excluded.modified_ns, sha256 = excluded.sha256,
    state = excluded.state, key = excluded.key, image_id = excluded.image_id, code = excluded.code,
    reason = excluded.reason, run = excluded.run
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file with its size and time of modification when it was read, and the state of its upload.

    Attributes
    ----------
    key : Idempotency-Key of its upload, stored before the first byte is sent.
    code, reason : error code and message if it failed or was skipped.
    """

    path: str
    size: int
    modified_ns: int
    sha256: str | None = None
    state: State = "sending"
    key: str | None = None
    image_id: str | None = None
    code: str | None = None
    reason: str | None = None

    def is_unchanged(self, other: "Entry") -> bool:
        """Return whether size and time of modification are those of ``other``."""
        return (self.size, self.modified_ns) == (other.size, other.modified_ns)


FIELDS = ", ".join(Entry.__slots__)


def to_sqlite(path: str) -> str | bytes:
    """Return a path as SQLite stores it: text, or bytes if they are not UTF-8."""
    return path if path == printable(path) else os.fsencode(path)


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(os.fsdecode(row[0]), *row[1:])


class Journal:
    """The journal of uploads to one API with one caller. Several threads may call every method."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = path, threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # Without waiting for the disk: after a lost row, the next run only asks the server for that file again.
        self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {SCHEMA}")
        self._run = self._one("INSERT INTO runs DEFAULT VALUES RETURNING id")[0]

    def close(self) -> None:
        self._database.close()

    def find(self, path: str) -> Entry | None:
        row = self._one(f"SELECT {FIELDS} FROM files WHERE path = ?", to_sqlite(path))  # noqa: S608
        return _entry(row) if row else None

    def file_with_same_bytes(self, sha256: str, path: str) -> str | None:
        """Return the path of another file with the same bytes that this run sent or is sending."""
        statement = "SELECT path FROM files WHERE sha256 = ? AND path <> ? AND run = ? AND state IN ('sent', 'sending')"
        row = self._one(statement, sha256, to_sqlite(path), self._run)
        return os.fsdecode(row[0]) if row else None

    def save(self, entry: Entry) -> None:
        reason = entry.reason and printable(entry.reason)
        row = (getattr(entry, name) for name in Entry.__slots__[1:-1])
        self._one(UPSERT, to_sqlite(entry.path), *row, reason, self._run)

    def counts(self) -> dict[str, int]:
        """Return the number of this run's files by state."""
        return dict(self._all("SELECT state, count(*) FROM files WHERE run = ? GROUP BY state", self._run))

    def reasons(self, state: State) -> list[tuple[str, int, str]]:
        """Return each error code of this run, the number of its files, and one of its reasons."""
        statement = "SELECT coalesce(code, ''), count(*), max(reason) FROM files WHERE run = ? AND state = ? GROUP BY 1"
        return self._all(f"{statement} ORDER BY 2 DESC", self._run, state)

    def failures(self, limit: int) -> Iterator[Entry]:
        rows = self._all(
            f"SELECT {FIELDS} FROM files WHERE run = ? AND state = 'failed' ORDER BY path LIMIT ?",  # noqa: S608
            self._run,
            limit,
        )
        return (_entry(row) for row in rows)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...]:
        return next(iter(self._all(statement, *values)), ())

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()
