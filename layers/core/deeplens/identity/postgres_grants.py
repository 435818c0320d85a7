"""Authorization codes and token families: one statement uses up a code or a refresh token."""

from datetime import datetime

from deeplens.access.api_keys import digest
from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import parameters_of, record_of
from deeplens.identity.model import CODE_LIFE, FAMILY_LIFE, PASSWORD_ONLY, REUSE_WINDOW, Code, Family
from deeplens.telemetry.security import security_event

ISSUE = """
INSERT INTO nextgen_identity.authorization_codes (code_sha256, family, client_id, user_id, session_id, redirect_uri,
    scopes, nonce, code_challenge, authenticated_at, expires_at)
VALUES (%(code_sha256)s, %(family)s, %(client_id)s, %(user_id)s, %(session_id)s, %(redirect_uri)s,
    %(scopes)s, %(nonce)s, %(code_challenge)s, %(authenticated_at)s, %(expires_at)s)
"""
# Before revision 0017 nobody has another method than the password, and no table has the column.
SET_METHODS_OF_CODE = "UPDATE nextgen_identity.authorization_codes SET methods = %s WHERE code_sha256 = %s"
SET_METHODS_OF_FAMILY = "UPDATE nextgen_identity.token_families SET methods = %s WHERE id = %s"
# Before revision 0019 no table has the column.
SET_RESOURCES_OF_CODE = "UPDATE nextgen_identity.authorization_codes SET resources = %s WHERE code_sha256 = %s"
SET_RESOURCES_OF_FAMILY = "UPDATE nextgen_identity.token_families SET resources = %s WHERE id = %s"
RESOURCES = "coalesce(to_jsonb({row}) -> 'resources', '[]') AS resources"
METHODS = "coalesce(to_jsonb({row}) -> 'methods', '[\"pwd\"]') AS methods"
# Of two simultaneous requests the second waits for the first's row lock, and then finds the code used.
REDEEM = f"""
WITH used AS (
    UPDATE nextgen_identity.authorization_codes SET used_at = %s
    WHERE code_sha256 = %s AND client_id = %s AND used_at IS NULL AND expires_at > %s RETURNING *
), family AS (
    INSERT INTO nextgen_identity.token_families
        (id, client_id, user_id, session_id, scopes, authenticated_at, expires_at)
    SELECT family, client_id, user_id, session_id, scopes, authenticated_at, %s FROM used
)
SELECT family, client_id, user_id, session_id, redirect_uri, scopes, nonce, code_challenge, authenticated_at,
    {METHODS.format(row="used")}, {RESOURCES.format(row="used")}
FROM used
"""  # noqa: S608
REPLAYED = """
UPDATE nextgen_identity.token_families SET revoked_at = %s
WHERE revoked_at IS NULL AND id = (SELECT family FROM nextgen_identity.authorization_codes
    WHERE code_sha256 = %s AND client_id = %s AND used_at IS NOT NULL)
RETURNING id AS family, user_id, client_id
"""
BEGIN = """
INSERT INTO nextgen_identity.refresh_tokens (token_sha256, family)
SELECT %s, id FROM nextgen_identity.token_families WHERE id = %s AND revoked_at IS NULL
"""
ROTATE = """
WITH spent AS (
    UPDATE nextgen_identity.refresh_tokens t SET spent_at = %s FROM nextgen_identity.token_families f
    WHERE t.token_sha256 = %s AND t.spent_at IS NULL AND f.id = t.family AND f.revoked_at IS NULL
        AND f.expires_at > %s
    RETURNING t.family
)
INSERT INTO nextgen_identity.refresh_tokens (token_sha256, family) SELECT %s, family FROM spent
"""
REPEATED = """
SELECT 1 FROM nextgen_identity.refresh_tokens t
JOIN nextgen_identity.refresh_tokens following ON following.family = t.family
JOIN nextgen_identity.token_families f ON f.id = t.family
WHERE t.token_sha256 = %s AND t.spent_at > %s AND following.token_sha256 = %s AND following.spent_at IS NULL
    AND f.revoked_at IS NULL AND f.expires_at > %s
"""
COLUMNS = (
    "f.id, f.client_id, f.user_id, f.session_id, f.scopes, f.authenticated_at, f.expires_at, "
    f"f.revoked_at IS NULL AND f.expires_at > %s AS live, {METHODS.format(row='f')}, {RESOURCES.format(row='f')}"
)
FAMILY = f"SELECT {COLUMNS} FROM nextgen_identity.token_families f WHERE f.id = %s"  # noqa: S608
FAMILY_OF_TOKEN = f"""
SELECT {COLUMNS}, t.spent_at
FROM nextgen_identity.refresh_tokens t JOIN nextgen_identity.token_families f ON f.id = t.family
WHERE t.token_sha256 = %s
"""  # noqa: S608
REVOKE = """
UPDATE nextgen_identity.token_families SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL
RETURNING id AS family, user_id, client_id
"""
FORGET = (
    "DELETE FROM nextgen_identity.authorization_codes WHERE expires_at < %s",
    "DELETE FROM nextgen_identity.token_families WHERE expires_at < %s",
    "DELETE FROM nextgen_identity.sessions WHERE expires_at < %s",
)


class PostgresGrants(PlatformAdapter):
    """``Grants`` on the tables ``authorization_codes``, ``token_families`` and ``refresh_tokens``."""

    def issue_code(self, presented: str, code: Code, now: datetime) -> None:
        stored = {"code_sha256": digest(presented), "expires_at": now + CODE_LIFE}
        with self._platform() as connection, connection.transaction():
            connection.execute(ISSUE, parameters_of(code) | stored)
            if code.methods != PASSWORD_ONLY:
                connection.execute(SET_METHODS_OF_CODE, [list(code.methods), stored["code_sha256"]])
            if code.resources:
                connection.execute(SET_RESOURCES_OF_CODE, [list(code.resources), stored["code_sha256"]])

    def redeem_code(self, presented: str, client_id: str, now: datetime) -> Code | None:
        code = digest(presented)
        with self._connections.platform() as connection:
            row = connection.execute(REDEEM, [now, code, client_id, now, now + FAMILY_LIFE]).fetchone()
            if row is None and (ended := connection.execute(REPLAYED, [now, code, client_id]).fetchone()):
                security_event("code_replayed", **ended)
                security_event("token_family_revoked", **ended)
            redeemed = record_of(Code, row) if row else None
            if redeemed is not None and redeemed.methods != PASSWORD_ONLY:
                connection.execute(SET_METHODS_OF_FAMILY, [list(redeemed.methods), redeemed.family])
            if redeemed is not None and redeemed.resources:
                connection.execute(SET_RESOURCES_OF_FAMILY, [list(redeemed.resources), redeemed.family])
        return redeemed

    def begin(self, refresh_token: str, family: str) -> bool:
        return self._execute(BEGIN, [digest(refresh_token), family]) == 1

    def rotate(self, spent: str, following: str, now: datetime) -> bool:
        if self._execute(ROTATE, [now, digest(spent), now, digest(following)]) == 1:
            return True
        return self._row(REPEATED, [digest(spent), now - REUSE_WINDOW, digest(following), now]) is not None

    def family_of_token(self, refresh_token: str, now: datetime) -> tuple[Family, datetime | None] | None:
        row = self._row(FAMILY_OF_TOKEN, [now, digest(refresh_token)])
        return (record_of(Family, row), row["spent_at"]) if row else None

    def family(self, family: str, now: datetime) -> Family | None:
        row = self._row(FAMILY, [now, family])
        return record_of(Family, row) if row else None

    def revoke(self, family: str, now: datetime) -> None:
        if ended := self._row(REVOKE, [now, family]):
            security_event("token_family_revoked", **ended)

    def forget(self, before: datetime) -> None:
        with self._connections.platform() as connection:
            for statement in FORGET:
                connection.execute(statement, [before])
