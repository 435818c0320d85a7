"""The levels that PostgreSQL reads are those of what was stored."""

from datetime import UTC, datetime, timedelta

from deeplens.database.connections import Connections
from deeplens.levels.measure import PendingLevel, TenantLevel
from deeplens.levels.postgres import PostgresLevels

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING = (
    "INSERT INTO pending_images (tenant_id, image_id, event, released, due, accepted_at) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)
LETTER = (
    "INSERT INTO dead_letters (id, tenant_id, error_code, error_message, attempt, failed_at, state) "
    "VALUES (%s, %s, 'E', 'm', 1, %s, %s)"
)


def test_each_query_counts_what_it_is_about(connections: Connections) -> None:
    levels, soon = PostgresLevels(connections), AT + timedelta(minutes=1)
    with connections.platform() as connection:
        connection.execute("TRUNCATE pending_images, dead_letters, usage_daily")
        tenant = connection.execute("SELECT id FROM tenants LIMIT 1").fetchone()
        for number, released in enumerate([True, True, False]):
            accepted = AT + timedelta(seconds=number)
            connection.execute(PENDING, ["tenant_x", f"img_{number}", "{}", released, soon, accepted])
        for number, (owner, state) in enumerate([("tenant_x", "open"), ("tenant_x", "discarded"), (None, "open")]):
            connection.execute(LETTER, [f"dlq_level_{number}", owner, AT, state])
        if tenant:
            usage = "INSERT INTO usage_daily (tenant_id, day, metric, quantity) VALUES (%s, %s, 'searches', 3)"
            connection.execute(usage, [tenant["id"], AT.date()])

    assert levels.pending() == [PendingLevel("tenant_x", 2, 1, AT)]
    assert sorted(levels.open_dead_letters(), key=lambda level: level.tenant_id) == [
        TenantLevel("", 1),
        TenantLevel("tenant_x", 1),
    ]
    assert levels.usage(AT.date()) == ([TenantLevel(tenant["id"], 3, "searches")] if tenant else [])
    assert levels.usage(AT.date() - timedelta(days=1)) == []
    assert levels.due_webhooks(AT).waiting == 0
    load = levels.connections()
    assert 0 < load.platform + load.tenants <= load.limit
