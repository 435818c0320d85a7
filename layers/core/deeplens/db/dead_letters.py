"""Dead letters of all tenants, in the platform database."""

from collections.abc import Sequence

from deeplens.db.connections import Connections
from deeplens.db.values import as_jsonb
from deeplens.domain import DeadLetterEntry

STORE = """
INSERT INTO dead_letters
    (id, tenant_id, image_id, stage, error_code, error_message, attempt, failed_at, source)
SELECT * FROM jsonb_to_recordset(%s) AS r(
    id text, tenant_id text, image_id text, stage text, error_code text, error_message text, attempt int,
    failed_at timestamptz, source jsonb)
ON CONFLICT (id) DO NOTHING
"""


class PostgresDeadLetters:
    """``DeadLetters`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def store(self, letters: Sequence[DeadLetterEntry]) -> None:
        if not letters:
            return
        rows = [
            {
                "id": letter.id,
                "tenant_id": letter.tenant_id,
                "image_id": letter.image_id,
                "stage": letter.stage,
                "error_code": letter.error_code,
                "error_message": letter.error_message,
                "attempt": letter.attempt,
                "failed_at": letter.failed_at.isoformat(),
                "source": letter.source.model_dump(mode="json", by_alias=True) if letter.source else None,
            }
            for letter in letters
        ]
        with self._connections.platform() as connection:
            connection.execute(STORE, [as_jsonb(rows)])
