"""Alerts in dictionaries, held to the promises of PostgreSQL by ``tests/integration``; a channel that notes."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.alerts.model import Alert, Digest

from tests.fakes.failures import FakeDeadLetters
from tests.fakes.maintenance import FakeMaintenanceRuns


class RecordingChannel:
    """``AlertChannel``; ``failure`` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.sent: list[Digest] = []
        self.failure: Exception | None = None

    def send(self, digest: Digest) -> None:
        if self.failure:
            raise self.failure
        self.sent.append(digest)


class FakeAlerts:
    """``Alerts`` of what stands in the fakes beside it."""

    def __init__(self, letters: FakeDeadLetters, runs: FakeMaintenanceRuns) -> None:
        self._letters, self._runs = letters, runs
        self._due: dict[str, datetime] = {}
        self._settled: set[str] = set()

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Alert]:
        open_ = [
            alert for alert in self._raised() if alert.id not in self._settled and self._due.get(alert.id, now) <= now
        ]
        claimed = sorted(
            open_, key=lambda alert: (self._due.get(alert.id, alert.raised_at), alert.raised_at, alert.id)
        )[:limit]
        self._due |= {alert.id: until for alert in claimed}
        return sorted(claimed, key=lambda alert: (alert.raised_at, alert.id))

    def mark_notified(self, ids: Sequence[str], now: datetime) -> None:
        self._settled.update(ids)

    def forget(self, before: datetime, limit: int) -> int:
        old = {alert.id for alert in self._raised() if alert.raised_at < before} - self._settled
        self._settled |= set(sorted(old)[:limit])
        return len(old)

    def _raised(self) -> list[Alert]:
        letters = [
            Alert(letter.id, "dead-letter", letter.error_code, letter.stage, letter.tenant_id, letter.failed_at)
            for letter in self._letters.letters.values()
        ]
        return letters + [
            Alert(run.id, "maintenance", run.error.partition(":")[0], run.type, run.tenant_id, run.ended_at)
            for run in self._runs.runs.values()
            if run.error and run.ended_at
        ]
