"""Dead letters of all tenants, in the platform database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_jsonb, as_text
from deeplens.events.failures import SourceRecord
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetterGroup

COLUMNS = ("id", "tenant_id", "image_id", "stage", "error_code", "error_message", "attempt", "failed_at", "source")
STORE = f"""
INSERT INTO dead_letters ({", ".join(COLUMNS)})
SELECT * FROM jsonb_to_recordset(%s) AS r(
    id text, tenant_id text, image_id text, stage text, error_code text, error_message text, attempt int,
    failed_at timestamptz, source jsonb)
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608
WHERE = """
    (%(ids)s::text[] = '{}' OR id = ANY(%(ids)s))
    AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
    AND (%(code)s::text IS NULL OR error_code = %(code)s)
    AND (%(stage)s::text IS NULL OR stage = %(stage)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(failed_from)s::timestamptz IS NULL OR failed_at >= %(failed_from)s)
    AND (%(failed_before)s::timestamptz IS NULL OR failed_at < %(failed_before)s)
"""
PAGE = f"""
SELECT {", ".join(COLUMNS)}, state, replays, settled_at, reason FROM dead_letters
WHERE {WHERE} AND (%(after_at)s::timestamptz IS NULL OR (failed_at, id) < (%(after_at)s, %(after_id)s))
ORDER BY failed_at DESC, id DESC LIMIT %(limit)s
"""  # noqa: S608
GROUPS = f"""
SELECT error_code AS code, stage, count(*) AS count, min(failed_at) AS oldest, max(failed_at) AS newest
FROM dead_letters WHERE {WHERE} GROUP BY error_code, stage ORDER BY count(*) DESC, error_code, stage LIMIT %(limit)s
"""  # noqa: S608
REPLAYED = """
UPDATE dead_letters SET state = 'replayed', replays = replays + 1, settled_at = %s, reason = NULL WHERE id = ANY(%s)
"""
SETTLE_IMAGE = """
UPDATE dead_letters SET state = 'replayed', settled_at = %s, reason = %s
WHERE tenant_id = %s AND image_id = %s AND state = 'open'
"""
DISCARD = "UPDATE dead_letters SET state = 'discarded', settled_at = %s, reason = %s WHERE id = %s AND state = 'open'"


class PostgresDeadLetters(PlatformAdapter):
    """``DeadLetters`` on psycopg."""

    def store(self, letters: Sequence[DeadLetterEntry]) -> None:
        if letters:
            self._execute(STORE, [as_jsonb([_row(letter) for letter in letters])])

    def page(self, where: DeadLetterFilter, after: tuple[datetime, str] | None, limit: int) -> list[DeadLetterEntry]:
        after_at, after_id = after or (None, None)
        values = _values(where) | {"after_at": after_at, "after_id": after_id, "limit": limit}
        return [_letter(row) for row in self._rows(PAGE, values)]

    def groups(self, where: DeadLetterFilter, limit: int) -> list[DeadLetterGroup]:
        return [DeadLetterGroup(**row) for row in self._rows(GROUPS, _values(where) | {"limit": limit})]

    def mark_replayed(self, ids: Sequence[str], now: datetime) -> None:
        self._execute(REPLAYED, [now, list(ids)])

    def settle_image(self, tenant_id: str, image_id: str, reason: str, now: datetime) -> None:
        self._execute(SETTLE_IMAGE, [now, as_text(reason), tenant_id, image_id])

    def discard(self, letter_id: str, reason: str, now: datetime) -> bool:
        return self._execute(DISCARD, [now, as_text(reason), letter_id]) > 0


def _row(letter: DeadLetterEntry) -> dict[str, Any]:
    source = letter.source.model_dump(mode="json", by_alias=True, exclude_none=True) if letter.source else None
    columns = {name: getattr(letter, name) for name in COLUMNS}
    return columns | {"failed_at": letter.failed_at.isoformat(), "source": source}


def _values(where: DeadLetterFilter) -> dict[str, Any]:
    return asdict(where) | {"ids": list(where.ids)}


def _letter(row: dict[str, Any]) -> DeadLetterEntry:
    source = SourceRecord.model_validate(row["source"]) if row["source"] else None
    return DeadLetterEntry(**row | {"source": source})
