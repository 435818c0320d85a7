"""Runs of maintenance in a dictionary: the same promises as PostgreSQL, held to them by ``tests/integration``."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta

from deeplens.maintenance.model import MaintenanceRun

NOTED_EVERY = timedelta(minutes=10)


class FakeMaintenanceRuns:
    """``MaintenanceRuns``; ``sweeps`` holds (changed_at, swept_at, due) by tenant, ``pending_of`` counts images."""

    def __init__(self) -> None:
        self.runs: dict[str, MaintenanceRun] = {}
        self.sweeps: dict[str, tuple[datetime, datetime, bool]] = {}
        self.pending_of: Callable[[str], int] = lambda _: 0

    def start(self, run: MaintenanceRun, grace: timedelta) -> bool:
        if run.id in self.runs or any(self._is_live(one, run.tenant_id, run.type) for one in self.runs.values()):
            return False
        self.runs[run.id] = run
        if run.type == "sweep" and not run.dry_run and run.tenant_id in self.sweeps:
            changed_at, _, _ = self.sweeps[run.tenant_id]
            self.sweeps[run.tenant_id] = (changed_at, run.created_at, changed_at > run.created_at - grace)
        return True

    def find(self, run_id: str) -> MaintenanceRun | None:
        return self.runs.get(run_id)

    def of_tenant(self, tenant_id: str | None, limit: int) -> list[MaintenanceRun]:
        mine = [run for run in self.runs.values() if tenant_id in (None, run.tenant_id)]
        return sorted(mine, key=lambda run: run.created_at, reverse=True)[:limit]

    def move(self, run: MaintenanceRun, before: str) -> bool:
        known = self.runs[run.id]
        if known.ended_at is not None or (known.cursor, known.slices) != (before, run.slices - 1):
            return False
        self.runs[run.id] = run
        return True

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[MaintenanceRun]:
        late = [run for run in self.runs.values() if run.ended_at is None and run.due <= now]
        for run in sorted(late, key=lambda run: run.due)[:limit]:
            self.runs[run.id] = replace(run, due=due)
        return [self.runs[run.id] for run in late[:limit]]

    def wake(self, tenant_ids: Collection[str], pending: int, rest: datetime, due: datetime) -> list[MaintenanceRun]:
        woken = [
            run
            for run in self.runs.values()
            if self._is_live(run, run.tenant_id, "store-scan")
            and run.tenant_id in tenant_ids
            and run.due <= rest
            and self.pending_of(run.tenant_id) < pending
        ]
        for run in woken:
            self.runs[run.id] = replace(run, due=due)
        return woken

    def sweeps_due(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        waiting = {
            tenant_id: swept_at
            for tenant_id, (_, swept_at, due) in self.sweeps.items()
            if due
            and swept_at < now - every
            and not any(self._is_live(r, tenant_id, "sweep") for r in self.runs.values())
        }
        return sorted(waiting, key=lambda tenant_id: waiting[tenant_id])[:limit]

    def forget(self, before: datetime, limit: int) -> int:
        old = [run.id for run in self.runs.values() if run.ended_at is not None and run.ended_at < before][:limit]
        for run_id in old:
            del self.runs[run_id]
        return len(old)

    def changed(self, tenant_ids: Collection[str], now: datetime) -> None:
        for tenant_id in tenant_ids:
            changed_at, swept_at, due = self.sweeps.get(tenant_id, (now, now, False))
            if not due or changed_at <= now - NOTED_EVERY:
                self.sweeps[tenant_id] = (max(changed_at, now), swept_at, True)

    @staticmethod
    def _is_live(run: MaintenanceRun, tenant_id: str, type: str) -> bool:
        return run.ended_at is None and (run.tenant_id, run.type) == (tenant_id, type)
