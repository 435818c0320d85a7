"""Second factors, sign-ins that are not complete, and policies of tenants."""

import secrets
from collections.abc import Sequence
from datetime import datetime

import psycopg

from deeplens.access.api_keys import digest
from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_text
from deeplens.identity.second_factors.model import PENDING_LIFE, Authenticator, Factors, Passkey, PendingSignIn
from deeplens.identity.sign_out import sign_out
from deeplens.telemetry.logs import logger

NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
FACTORS = """
SELECT EXISTS (SELECT 1 FROM nextgen_identity.authenticators WHERE user_id = u.id) AS authenticator,
    (SELECT count(*) FROM nextgen_identity.passkeys WHERE user_id = u.id) AS passkeys,
    (SELECT count(*) FROM nextgen_identity.recovery_codes WHERE user_id = u.id AND used_at IS NULL) AS recovery_codes,
    coalesce((SELECT require_second_factor FROM tenants WHERE id = u.tenant_id), false) AS tenant_requires
FROM nextgen_identity.users u WHERE u.id = %s
"""
AUTHENTICATOR = f"SELECT {columns_of(Authenticator)} FROM nextgen_identity.authenticators WHERE user_id = %s"  # noqa: S608
SAVE_AUTHENTICATOR = f"""
{insert_into("nextgen_identity.authenticators", Authenticator)}
ON CONFLICT (user_id) DO UPDATE SET enrolment = excluded.enrolment, last_step = excluded.last_step,
    created_at = excluded.created_at
"""
USE_STEP = "UPDATE nextgen_identity.authenticators SET last_step = %s WHERE user_id = %s AND last_step < %s"
PASSKEY = columns_of(Passkey)
PASSKEYS = f"SELECT {PASSKEY} FROM nextgen_identity.passkeys WHERE user_id = %s ORDER BY created_at, id"  # noqa: S608
FIND_PASSKEY = f"SELECT {PASSKEY} FROM nextgen_identity.passkeys WHERE id = %s"  # noqa: S608
ADD_PASSKEY = f"{insert_into('nextgen_identity.passkeys', Passkey)} ON CONFLICT (id) DO NOTHING"
# Authenticators without a counter always send 0.
USE_PASSKEY = """
UPDATE nextgen_identity.passkeys SET sign_count = %(count)s, last_used_at = %(now)s
WHERE id = %(id)s AND (sign_count < %(count)s OR (sign_count = 0 AND %(count)s = 0))
"""
USE_RECOVERY_CODE = """
UPDATE nextgen_identity.recovery_codes SET used_at = %s WHERE user_id = %s AND code_sha256 = %s AND used_at IS NULL
"""
ADD_RECOVERY_CODES = """
INSERT INTO nextgen_identity.recovery_codes (user_id, code_sha256) SELECT %s, unnest(%s::bytea[])
"""
REMOVE_RECOVERY_CODES = "DELETE FROM nextgen_identity.recovery_codes WHERE user_id = %s"
REMOVE_UNUSABLE_CODES = """
DELETE FROM nextgen_identity.recovery_codes WHERE user_id = %(user)s
    AND NOT EXISTS (SELECT 1 FROM nextgen_identity.authenticators WHERE user_id = %(user)s)
    AND NOT EXISTS (SELECT 1 FROM nextgen_identity.passkeys WHERE user_id = %(user)s)
"""
# In the order of a user's rows, which another request may be changing.
RESET = (
    "DELETE FROM nextgen_identity.authenticators WHERE user_id = %(user)s",
    "DELETE FROM nextgen_identity.passkeys WHERE user_id = %(user)s",
    "DELETE FROM nextgen_identity.recovery_codes WHERE user_id = %(user)s",
)
BEGIN = """
INSERT INTO nextgen_identity.pending_sign_ins (secret_sha256, user_id, methods, goal, expires_at)
VALUES (%s, %s, %s, %s, %s)
"""
PENDING = "FROM nextgen_identity.pending_sign_ins WHERE secret_sha256 = %s AND expires_at > %s"
FIND_PENDING = f"SELECT {columns_of(PendingSignIn)} {PENDING}"
FIND_CHALLENGE = f"SELECT challenge {PENDING}"
SET_CHALLENGE = "UPDATE nextgen_identity.pending_sign_ins SET challenge = %s WHERE secret_sha256 = %s"
TAKE_CHALLENGE = f"""
WITH found AS (SELECT secret_sha256, challenge {PENDING} AND challenge IS NOT NULL FOR UPDATE)
UPDATE nextgen_identity.pending_sign_ins p SET challenge = NULL FROM found
WHERE p.secret_sha256 = found.secret_sha256 RETURNING found.challenge
"""  # noqa: S608


class PostgresSecondFactors(PlatformAdapter):
    """``SecondFactors`` on the tables ``authenticators``, ``passkeys`` and ``recovery_codes``."""

    def of(self, user_id: str) -> Factors:
        try:
            row = self._row(FACTORS, [user_id])
        except NOT_MIGRATED:
            logger().error("second factors are not checked: migrate the platform database")
            return Factors()
        return record_of(Factors, row) if row else Factors()

    def authenticator(self, user_id: str) -> Authenticator | None:
        row = self._row(AUTHENTICATOR, [user_id])
        return record_of(Authenticator, row) if row else None

    def save_authenticator(self, authenticator: Authenticator) -> None:
        self._execute(SAVE_AUTHENTICATOR, parameters_of(authenticator))

    def use_step(self, user_id: str, step: int) -> bool:
        return self._execute(USE_STEP, [step, user_id, step]) == 1

    def passkeys(self, user_id: str) -> list[Passkey]:
        return [record_of(Passkey, row) for row in self._rows(PASSKEYS, [user_id])]

    def passkey(self, credential_id: bytes) -> Passkey | None:
        row = self._row(FIND_PASSKEY, [credential_id])
        return record_of(Passkey, row) if row else None

    def add_passkey(self, passkey: Passkey) -> bool:
        return self._execute(ADD_PASSKEY, parameters_of(passkey)) == 1

    def rename_passkey(self, user_id: str, credential_id: bytes, name: str) -> bool:
        statement = "UPDATE nextgen_identity.passkeys SET name = %s WHERE user_id = %s AND id = %s"
        return self._execute(statement, [as_text(name), user_id, credential_id]) == 1

    def use_passkey(self, credential_id: bytes, sign_count: int, now: datetime) -> bool:
        return self._execute(USE_PASSKEY, {"id": credential_id, "count": sign_count, "now": now}) == 1

    def replace_recovery_codes(self, user_id: str, sha256s: Sequence[bytes]) -> None:
        with self._platform() as connection, connection.transaction():
            connection.execute(REMOVE_RECOVERY_CODES, [user_id])
            connection.execute(ADD_RECOVERY_CODES, [user_id, list(sha256s)])

    def use_recovery_code(self, user_id: str, sha256: bytes, now: datetime) -> bool:
        return self._execute(USE_RECOVERY_CODE, [now, user_id, sha256]) == 1

    def remove_authenticator(self, user_id: str) -> bool:
        return self._remove("DELETE FROM nextgen_identity.authenticators WHERE user_id = %(user)s", user_id)

    def remove_passkey(self, user_id: str, credential_id: bytes) -> bool:
        statement = "DELETE FROM nextgen_identity.passkeys WHERE user_id = %(user)s AND id = %(id)s"
        return self._remove(statement, user_id, credential_id)

    def reset(self, user_id: str, now: datetime) -> bool:
        with self._platform() as connection, connection.transaction():
            removed = sum(connection.execute(statement, {"user": user_id}).rowcount for statement in RESET)
            sign_out(connection, user_id, now)
        return removed > 0

    def _remove(self, statement: str, user_id: str, credential_id: bytes = b"") -> bool:
        values = {"user": user_id, "id": credential_id}
        with self._platform() as connection, connection.transaction():
            removed = connection.execute(statement.encode(), values).rowcount
            connection.execute(REMOVE_UNUSABLE_CODES, values)
        return removed == 1


class PostgresPendingSignIns(PlatformAdapter):
    """``PendingSignIns`` on the table ``pending_sign_ins``."""

    def begin(self, pending: PendingSignIn, now: datetime) -> str:
        secret = secrets.token_urlsafe(32)
        values = [pending.user_id, list(pending.methods), pending.goal, now + PENDING_LIFE]
        self._execute(BEGIN, [digest(secret), *values])
        return secret

    def find(self, secret: str, now: datetime) -> PendingSignIn | None:
        row = self._row(FIND_PENDING, [digest(secret), now])
        return record_of(PendingSignIn, row) if row else None

    def set_challenge(self, secret: str, challenge: bytes) -> None:
        self._execute(SET_CHALLENGE, [challenge, digest(secret)])

    def challenge(self, secret: str, now: datetime) -> bytes | None:
        row = self._row(FIND_CHALLENGE, [digest(secret), now])
        return row["challenge"] if row else None

    def take_challenge(self, secret: str, now: datetime) -> bytes | None:
        row = self._row(TAKE_CHALLENGE, [digest(secret), now])
        return row["challenge"] if row else None

    def end(self, secret: str) -> bool:
        statement = "DELETE FROM nextgen_identity.pending_sign_ins WHERE secret_sha256 = %s"
        return self._execute(statement, [digest(secret)]) == 1

    def forget(self, now: datetime) -> None:
        try:
            self._execute("DELETE FROM nextgen_identity.pending_sign_ins WHERE expires_at <= %s", [now])
        except psycopg.errors.UndefinedTable:
            return


class PostgresSignInPolicies(PlatformAdapter):
    """``SignInPolicies`` on the table ``tenants``."""

    def requires_second_factor(self, tenant_id: str) -> bool:
        row = self._row("SELECT require_second_factor FROM tenants WHERE id = %s", [tenant_id])
        return bool(row and row["require_second_factor"])

    def require_second_factor(self, tenant_id: str, required: bool) -> None:
        self._execute("UPDATE tenants SET require_second_factor = %s WHERE id = %s", [required, tenant_id])
