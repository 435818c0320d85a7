"""What telling operators relies on in ``Alerts``, of the fake as of PostgreSQL's triggers."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from deeplens.alerts.model import Alerts
from deeplens.alerts.postgres import PostgresAlerts
from deeplens.database.connections import Connections
from deeplens.failures.model import DeadLetterEntry, DeadLetters
from deeplens.failures.postgres import PostgresDeadLetters
from deeplens.maintenance.model import MaintenanceRun, MaintenanceRuns
from deeplens.maintenance.postgres import PostgresMaintenanceRuns

from tests.fakes.alerts import FakeAlerts
from tests.fakes.failures import FakeDeadLetters
from tests.fakes.maintenance import FakeMaintenanceRuns


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=5)


@dataclass
class Parts:
    alerts: Alerts
    letters: DeadLetters
    runs: MaintenanceRuns


@pytest.fixture(params=["fake", "postgres"])
def parts(request: pytest.FixtureRequest) -> Parts:
    if request.param == "fake":
        letters, runs = FakeDeadLetters(), FakeMaintenanceRuns()
        return Parts(FakeAlerts(letters, runs), letters, runs)
    connections: Connections = request.getfixturevalue("connections")
    with connections.platform() as connection:
        connection.execute("TRUNCATE operator_alerts")
    return Parts(PostgresAlerts(connections), PostgresDeadLetters(connections), PostgresMaintenanceRuns(connections))


def letter(code: str = "IMAGE_CORRUPT", stage: str | None = "preprocess") -> DeadLetterEntry:
    return DeadLetterEntry(f"dlq_{uuid4().hex}", "tenant_a", None, stage, code, "m", 1, datetime.now(UTC), None)


def claimed(parts: Parts, limit: int = 100) -> list[str]:
    return [alert.id for alert in parts.alerts.claim(soon(), soon() + timedelta(minutes=5), limit)]


def test_every_letter_is_an_alert_once_however_often_it_is_stored(parts: Parts) -> None:
    first, second = letter(), letter("STAGE_FAILED", None)
    for batch in ([first], [first, second], [second, second], []):
        parts.letters.store(batch)
    alerts = parts.alerts.claim(soon(), soon(), 100)

    found = sorted((alert.id, alert.kind, alert.code, alert.stage, alert.tenant_id) for alert in alerts)
    expected = [(one.id, "dead-letter", one.error_code, one.stage, "tenant_a") for one in (first, second)]
    assert found == sorted(expected)
    parts.alerts.mark_notified([first.id, second.id], soon())
    parts.letters.store([first, second])
    assert claimed(parts) == []


def test_a_run_that_ends_with_an_error_is_one_and_one_that_ends_well_is_not(parts: Parts) -> None:
    now = datetime.now(UTC)
    for error in ("TENANT_STORE_DENIED: access denied: by policy", None):
        run = MaintenanceRun(f"mnt_{uuid4().hex}", f"tenant_{uuid4().hex[:8]}", "sweep", False, now, now)
        assert parts.runs.start(run, timedelta())
        moved = replace(run.moved("rows:a", run.report, now, None))
        assert parts.runs.move(moved, "")
        assert parts.runs.move(replace(moved.moved("rows:a", run.report, now, now), error=error), "rows:a")
    (alert,) = parts.alerts.claim(soon(), soon(), 100)
    assert (alert.kind, alert.code, alert.stage) == ("maintenance", "TENANT_STORE_DENIED", "sweep")


def test_what_one_has_claimed_nobody_else_tells_of_until_later(parts: Parts) -> None:
    parts.letters.store([letter() for _ in range(3)])
    assert (len(claimed(parts, 2)), len(claimed(parts)), claimed(parts)) == (2, 1, [])
    assert len(parts.alerts.claim(soon() + timedelta(minutes=6), soon(), 100)) == 3


def test_old_alerts_are_forgotten_told_or_not(parts: Parts) -> None:
    parts.letters.store([letter()])
    assert parts.alerts.forget(datetime.now(UTC) - timedelta(days=1), 100) == 0
    assert parts.alerts.forget(soon(), 100) == 1
    assert claimed(parts) == []
