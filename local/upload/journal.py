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
NOTE = """
INSERT INTO files (path, size, modified_ns, sha256, state, key, image_id, code, reason, run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET size = excluded.size, modified_ns = excluded.modified_ns, sha256 = excluded.sha256,
    state = excluded.state, key = excluded.key, image_id = excluded.image_id, code = excluded.code,
    reason = excluded.reason, run = excluded.run
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, as it was when it was looked at.

    Attributes
    ----------
    key : Idempotency-Key that it is sent with, kept from before the first byte goes out.
    code, reason : why it failed or was left out.
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

    def is_of(self, other: "Entry") -> bool:
        """Whether the file has not changed since."""
        return (self.size, self.modified_ns) == (other.size, other.modified_ns)


FIELDS = ", ".join(Entry.__slots__)


def stored(path: str) -> str | bytes:
    """A path as SQLite takes it: text, or its bytes where they are no UTF-8."""
    return path if path == printable(path) else os.fsencode(path)


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(os.fsdecode(row[0]), *row[1:])


class Journal:
    """The journal of one target. Every method may be called by several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = path, threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A lost line costs a look-up at the server, so the disk is not waited for.
        self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {SCHEMA}")
        self._run = self._one("INSERT INTO runs DEFAULT VALUES RETURNING id")[0]

    def close(self) -> None:
        self._database.close()

    def find(self, path: str) -> Entry | None:
        row = self._one(f"SELECT {FIELDS} FROM files WHERE path = ?", stored(path))  # noqa: S608
        return _entry(row) if row else None

    def twin(self, sha256: str, path: str) -> str | None:
        """Another file of the same bytes that was sent, or is being sent, in this run."""
        statement = "SELECT path FROM files WHERE sha256 = ? AND path <> ? AND run = ? AND state IN ('sent', 'sending')"
        found = self._one(statement, sha256, stored(path), self._run)
        return os.fsdecode(found[0]) if found else None

    def note(self, entry: Entry) -> None:
        reason = entry.reason and printable(entry.reason)
        row = (getattr(entry, name) for name in Entry.__slots__[1:-1])
        self._one(NOTE, stored(entry.path), *row, reason, self._run)

    def counts(self) -> dict[str, int]:
        """Files of this run by state."""
        return dict(self._all("SELECT state, count(*) FROM files WHERE run = ? GROUP BY state", self._run))

    def reasons(self, state: State) -> list[tuple[str, int, str]]:
        """Code, how many files of this run have it, and one reason."""
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
