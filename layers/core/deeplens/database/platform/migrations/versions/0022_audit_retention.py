"""Entries of the audit log that are old enough can be purged, by one function that records what it purged.

The trigger refuses the deletion of any entry of the last 90 days, whoever asks. The function is the only way for a role
of DeepLens' functions: they may neither delete nor change an entry.
"""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("DROP TRIGGER audit_log_append_only ON audit_log")
    op.execute("""
        CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
        FOR EACH ROW WHEN (OLD.at > clock_timestamp() - interval '90 days') EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE FUNCTION purge_audit_log(kept interval, at_most integer) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            ends timestamptz := now() - kept;
            purged integer;
        BEGIN
            IF kept IS NULL OR kept < interval '90 days' THEN
                RAISE EXCEPTION 'entries of the audit log are kept for at least 90 days';
            END IF;
            -- Once a day, as each purge adds an entry.
            IF NOT EXISTS (
                SELECT FROM (SELECT at FROM audit_log ORDER BY id LIMIT 1) AS oldest WHERE at < ends - interval '1 day'
            ) THEN
                RETURN 0;
            END IF;
            DELETE FROM audit_log WHERE id IN (
                SELECT id FROM (SELECT id, at FROM audit_log ORDER BY id LIMIT at_most) AS oldest WHERE at < ends
            );
            GET DIAGNOSTICS purged = ROW_COUNT;
            INSERT INTO audit_log (actor, action, target, outcome, detail, request_id)
            VALUES ('schedule', 'purge', 'audit_log', 'done', jsonb_build_object('entries', purged, 'before', ends),
                    gen_random_uuid()::text);
            RETURN purged;
        END $$
    """)
    op.execute("REVOKE ALL ON FUNCTION purge_audit_log FROM PUBLIC")
