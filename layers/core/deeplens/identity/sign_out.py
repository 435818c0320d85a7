"""One way to end everything that lets somebody in as a user: sessions, codes, token families, and what is half done."""

from datetime import datetime
from typing import Any, NamedTuple

import psycopg

END_SESSIONS = """
DELETE FROM nextgen_identity.sessions WHERE user_id = %(user)s AND id IS DISTINCT FROM %(kept)s
RETURNING id AS session_id, user_id
"""
# Before the families: a code that is redeemed meanwhile has become a family when this statement ends.
END_CODES = """
DELETE FROM nextgen_identity.authorization_codes
WHERE user_id = %(user)s AND used_at IS NULL AND session_id IS DISTINCT FROM %(kept)s
"""
END_FAMILIES = """
UPDATE nextgen_identity.token_families SET revoked_at = %(now)s
WHERE user_id = %(user)s AND revoked_at IS NULL AND session_id IS DISTINCT FROM %(kept)s
RETURNING id AS family, user_id, client_id
"""
HALF_DONE = ("pending_sign_ins", "password_resets", "email_changes")
"""Tables of sign-ins that are not complete, and of links that were mailed: whoever has one must not come in by it."""
# A database may not have all of them yet.
EXISTING = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('nextgen_identity.' || name) IS NOT NULL"

type Rows = list[dict[str, Any]]


class SignedOut(NamedTuple):
    """The sessions and token families that ended, for the log."""

    sessions: Rows
    families: Rows


def sign_out(connection: psycopg.Connection[Any], user_id: str, now: datetime, kept: str | None = None) -> SignedOut:
    """Within the caller's transaction; the session ``kept``, with its codes and tokens, stays."""
    values = {"user": user_id, "now": now, "kept": kept}
    sessions = connection.execute(END_SESSIONS, values).fetchall()
    connection.execute(END_CODES, values)
    families = connection.execute(END_FAMILIES, values).fetchall()
    for row in connection.execute(EXISTING, [list(HALF_DONE)]).fetchall():
        connection.execute(f"DELETE FROM nextgen_identity.{row['name']} WHERE user_id = %(user)s".encode(), values)  # noqa: S608
    return SignedOut(sessions, families)
