"""Direct uploads of all tenants, in one table of the platform database."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import parameters_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.tenants.limits import Storage
from deeplens.uploads.model import DirectUpload, Refusal, UploadStatus

GIVEN = [field.name for field in fields(DirectUpload) if field.name not in ("refusal", "ended_at")]
COLUMNS = ", ".join([*GIVEN, "error_code", "error_message", "error_retryable", "ended_at"])
ADD = f"""
INSERT INTO direct_uploads ({", ".join(GIVEN)}) VALUES ({", ".join(f"%({name})s" for name in GIVEN)})
ON CONFLICT (tenant_id, id) DO NOTHING
"""  # noqa: S608
FIND = f"SELECT {COLUMNS} FROM direct_uploads WHERE tenant_id = %s AND id = %s"  # noqa: S608
KEEP_MULTIPART = """
UPDATE direct_uploads SET multipart_id = coalesce(multipart_id, %s) WHERE tenant_id = %s AND id = %s
RETURNING multipart_id
"""
CLAIM = """
UPDATE direct_uploads SET claimed_until = %(until)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
  AND (claimed_until IS NULL OR claimed_until <= %(now)s)
"""
PUT_OFF = """
UPDATE direct_uploads SET due = %(due)s, claimed_until = NULL, attempts = attempts + %(counted)s,
       error_code = coalesce(%(code)s, error_code), error_message = coalesce(%(message)s, error_message),
       error_retryable = coalesce(%(retryable)s, error_retryable)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
"""
END = """
UPDATE direct_uploads SET status = %(status)s, ended_at = %(now)s, claimed_until = NULL,
       error_code = %(code)s, error_message = %(message)s, error_retryable = %(retryable)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
"""
EXPECT = """
UPDATE direct_uploads SET due = least(due, %s) WHERE tenant_id = %s AND id = %s AND status = 'open'
"""
OVERDUE = f"""
WITH late AS (
    SELECT tenant_id, id FROM direct_uploads WHERE status = 'open' AND due < %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE direct_uploads u SET due = %(due)s FROM late WHERE u.tenant_id = late.tenant_id AND u.id = late.id
RETURNING {", ".join("u." + name for name in COLUMNS.split(", "))}
"""  # noqa: S608
RESERVED = """
SELECT count(*) AS images, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM direct_uploads
WHERE tenant_id = %s AND status = 'open'
"""
FORGET = """
DELETE FROM direct_uploads u USING (
    SELECT tenant_id, id FROM direct_uploads WHERE status <> 'open' AND ended_at < %s LIMIT %s) AS old
WHERE u.tenant_id = old.tenant_id AND u.id = old.id
"""
OWNERS = "SELECT storage_uri, id FROM tenants WHERE storage_uri = ANY(%s) AND status <> 'deleted'"


class PostgresDirectUploads(PlatformAdapter):
    """``DirectUploads`` and ``StoreOwners`` on psycopg."""

    def add(self, upload: DirectUpload) -> DirectUpload:
        with self._platform() as connection:
            with connection.pipeline():
                connection.execute(ADD, parameters_of(upload) | {"metadata": as_jsonb(upload.metadata)})
                # A statement of its own: it sees what another connection wrote while the first one waited for it.
                cursor = connection.execute(FIND, [upload.tenant_id, upload.id])
            return _upload(cursor.fetchall()[0])

    def find(self, tenant_id: str, upload_id: str) -> DirectUpload | None:
        row = self._row(FIND, [tenant_id, upload_id])
        return _upload(row) if row else None

    def keep_multipart(self, tenant_id: str, upload_id: str, multipart_id: str) -> str:
        row = self._row(KEEP_MULTIPART, [multipart_id, tenant_id, upload_id])
        return str(row["multipart_id"]) if row else ""

    def claim(self, tenant_id: str, upload_id: str, now: datetime, until: datetime) -> bool:
        return self._execute(CLAIM, {"tenant": tenant_id, "id": upload_id, "now": now, "until": until}) == 1

    def put_off(self, tenant_id: str, upload_id: str, due: datetime, refusal: Refusal | None = None) -> None:
        counted = int(refusal is not None)
        self._execute(PUT_OFF, {"tenant": tenant_id, "id": upload_id, "due": due, "counted": counted} | _error(refusal))

    def end(
        self, tenant_id: str, upload_id: str, status: UploadStatus, now: datetime, refusal: Refusal | None = None
    ) -> None:
        self._execute(END, {"tenant": tenant_id, "id": upload_id, "status": status, "now": now} | _error(refusal))

    def expect(self, tenant_id: str, upload_id: str, due: datetime) -> None:
        self._execute(EXPECT, [due, tenant_id, upload_id])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[DirectUpload]:
        rows = self._rows(OVERDUE, {"now": now, "due": due, "limit": limit})
        return [_upload(row) for row in sorted(rows, key=lambda row: row["created_at"])]

    def reserved(self, tenant_id: str) -> Storage:
        return Storage(**self._rows(RESERVED, [tenant_id])[0])

    def forget(self, ended_before: datetime, limit: int) -> int:
        return self._execute(FORGET, [ended_before, limit])

    def owners(self, roots: Sequence[str]) -> dict[str, str]:
        return {row["storage_uri"]: row["id"] for row in self._rows(OWNERS, [list(roots)])}


def _error(refusal: Refusal | None) -> dict[str, Any]:
    if refusal is None:
        return {"code": None, "message": None, "retryable": None}
    return {"code": refusal.code, "message": as_text(refusal.message)[:1000], "retryable": refusal.retryable}


def _upload(row: dict[str, Any]) -> DirectUpload:
    code, message, retryable = (row.pop(f"error_{name}") for name in ("code", "message", "retryable"))
    refusal = Refusal(code, message, retryable) if code else None
    return DirectUpload(refusal=refusal, **row | {"tags": tuple(row["tags"])})
