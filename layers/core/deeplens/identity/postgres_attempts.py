"""Counts of attempts to sign in."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import psycopg

from deeplens.database.connections import PlatformAdapter
from deeplens.identity.model import ATTEMPT_WINDOW, AttemptCounter
from deeplens.telemetry.logs import logger

# In the order of the keys, so that simultaneous attempts do not wait for each other in a circle.
COUNT = """
INSERT INTO nextgen_identity.sign_in_attempts AS a (key, attempts, max_attempts, ends_at)
SELECT key, 1, max_attempts, %(ends_at)s FROM unnest(%(keys)s::bytea[], %(limits)s::int[]) AS c (key, max_attempts)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET attempts = CASE WHEN a.ends_at <= %(now)s THEN 1 ELSE a.attempts + 1 END,
    ends_at = CASE WHEN a.ends_at <= %(now)s THEN excluded.ends_at ELSE a.ends_at END
WHERE a.ends_at <= %(now)s OR a.attempts < excluded.max_attempts
"""
FORGIVE = """
UPDATE nextgen_identity.sign_in_attempts SET attempts = CASE WHEN key = %s THEN 0 ELSE greatest(attempts - 1, 0) END
WHERE key = ANY(%s)
"""


class PostgresSignInAttempts(PlatformAdapter):
    """``SignInAttempts`` on the table ``sign_in_attempts``, of revision 0016. Before it, every attempt is heard."""

    def count(self, counters: Sequence[AttemptCounter], now: datetime) -> bool:
        values = {
            "keys": [counter.key for counter in counters],
            "limits": [counter.max_attempts for counter in counters],
            "now": now,
            "ends_at": now + ATTEMPT_WINDOW,
        }
        try:
            with self._platform() as connection, connection.transaction():
                heard = connection.execute(COUNT, values).rowcount == len(counters)
                if not heard:
                    raise psycopg.Rollback
        except psycopg.errors.UndefinedTable:
            logger().error("sign-ins are not throttled: migrate the platform database")
            return True
        return heard

    def forgive(self, counters: Sequence[AttemptCounter]) -> None:
        with suppress(psycopg.errors.UndefinedTable):
            self._execute(FORGIVE, [counters[0].key, [counter.key for counter in counters]])

    def forget(self, now: datetime) -> None:
        with suppress(psycopg.errors.UndefinedTable):
            self._execute("DELETE FROM nextgen_identity.sign_in_attempts WHERE ends_at <= %s", [now])
