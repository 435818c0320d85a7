"""One way to end everything that lets a user in: sessions, codes, token families and sign-ins that are not complete."""

from datetime import datetime
from typing import Any

import psycopg

SIGN_OUT = (
    "DELETE FROM nextgen_identity.sessions WHERE user_id = %(user)s AND id IS DISTINCT FROM %(kept)s",
    "DELETE FROM nextgen_identity.authorization_codes "
    "WHERE user_id = %(user)s AND used_at IS NULL AND session_id IS DISTINCT FROM %(kept)s",
    "UPDATE nextgen_identity.token_families SET revoked_at = %(now)s "
    "WHERE user_id = %(user)s AND revoked_at IS NULL AND session_id IS DISTINCT FROM %(kept)s",
)
# Before revision 0021 there is no such table, and no sign-in is half done.
HAS_PENDING = "SELECT 1 WHERE to_regclass('nextgen_identity.pending_sign_ins') IS NOT NULL"
END_PENDING = "DELETE FROM nextgen_identity.pending_sign_ins WHERE user_id = %(user)s"


def sign_out(connection: psycopg.Connection[Any], user_id: str, now: datetime, kept: str | None = None) -> None:
    """Within the caller's transaction; the session ``kept``, with its codes and tokens, stays."""
    values = {"user": user_id, "now": now, "kept": kept}
    for statement in SIGN_OUT:
        connection.execute(statement.encode(), values)
    if connection.execute(HAS_PENDING).fetchone() is not None:
        connection.execute(END_PENDING, values)
