"""Usage, request counters and budgets in memory: the same promises as PostgreSQL."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from statistics import mean
from typing import TYPE_CHECKING

from deeplens.errors import TenantNotFound
from deeplens.tenants.limits import minute_of
from deeplens.tenants.model import IngestionPause
from deeplens.usage.model import (
    EGRESS,
    EXHAUSTED_PERCENT,
    GAUGES,
    REQUESTS,
    SEARCHES,
    USAGE_BUDGET,
    Budget,
    BudgetState,
    BudgetWarning,
    Unmetered,
    UsagePosition,
    UsageRow,
    month_after,
    start_of,
)

if TYPE_CHECKING:
    from tests.fakes.db import FakeDirectory

type Totals = dict[tuple[str, str, str], float]


def day_of(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()


class FakeUsage:
    """``UsageMeter`` whose ``totals`` tests may read, by tenant, day (UTC) and metric."""

    def __init__(self, counters: "FakeRequestCounters | None" = None) -> None:
        self._counters = counters
        self.totals: Totals = defaultdict(float)
        self.counted: dict[str, datetime] = {}
        self.levels: dict[tuple[str, str, str], datetime] = {}
        self.changed: dict[str, datetime] = {}
        self.asked: dict[str, datetime] = {}
        self.begun: list[date] = []

    def record(self, entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        known = set(self.counted)
        seen: set[tuple[str, str]] = set()
        for event_id, tenant_id, metric, quantity, occurred_at in entries:
            if event_id not in known and (event_id, metric) not in seen:
                seen.add((event_id, metric))
                self.counted[event_id] = occurred_at
                self._add((tenant_id, day_of(occurred_at), metric), quantity, occurred_at)
            if self._counters:
                self._counters.on_their_way.pop(event_id, None)

    def _add(self, key: tuple[str, str, str], quantity: float, at: datetime) -> None:
        if key[2] not in GAUGES:
            self.totals[key] += quantity
        elif key not in self.levels or self.levels[key] <= at:
            self.totals[key], self.levels[key] = quantity, at

    def of(self, metric: str) -> float:
        """Over all tenants and days."""
        return sum(quantity for key, quantity in self.totals.items() if key[2] == metric)

    def days(self, tenant_id: str, first: date, last: date) -> list[UsageRow]:
        counted = self._counters.days() if self._counters else {}
        totals = {key: self.totals.get(key, 0) + counted.get(key, 0) for key in self.totals.keys() | counted.keys()}
        rows = [
            UsageRow(owner, date.fromisoformat(day), metric, float(quantity))
            for (owner, day, metric), quantity in totals.items()
            if owner == tenant_id and first <= date.fromisoformat(day) <= last
        ]
        return sorted(rows, key=lambda total: (total.metric, total.day))

    def overview(self, first: date, last: date, tenant_id: str | None, after: str, limit: int) -> list[UsageRow]:
        rows = self.rows(first, last, tenant_id, None, 1 << 30)
        owners = sorted({row.tenant_id for row in rows if tenant_id or row.tenant_id > after})[:limit]
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in rows:
            if row.tenant_id in owners:
                groups[row.tenant_id, row.metric].append(row.quantity)
        return [
            UsageRow(owner, last, metric, mean(found) if metric in GAUGES else sum(found))
            for (owner, metric), found in sorted(groups.items())
        ]

    def rows(
        self, first: date, last: date, tenant_id: str | None, after: UsagePosition | None, limit: int
    ) -> list[UsageRow]:
        found = sorted(
            (owner, date.fromisoformat(day), metric, float(quantity))
            for (owner, day, metric), quantity in self.totals.items()
            if tenant_id in (None, owner) and first <= date.fromisoformat(day) <= last
        )
        return [UsageRow(*row) for row in found if after is None or row[:3] > after][:limit]

    def carry_gauges(self, today: date) -> bool:
        if self.begun and max(self.begun) >= today:
            return False
        before = max(self.begun, default=today - timedelta(days=1))
        self.begun.append(today)
        for ahead in range(1, (today - before).days + 1):
            day = before + timedelta(days=ahead)
            for (owner, of, metric), quantity in list(self.totals.items()):
                key = (owner, day.isoformat(), metric)
                yesterdays = of == (day - timedelta(days=1)).isoformat() and metric in GAUGES
                if yesterdays and quantity and key not in self.levels:
                    self._add(key, quantity, start_of(day))
        return True

    def due_for_measurement(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        noted = timedelta(minutes=10)
        due = [
            (at, owner)
            for owner, at in self.changed.items()
            if owner not in self.asked or self.asked[owner] < min(at, now - noted - every)
        ]
        return [owner for _, owner in sorted(due)][:limit]

    def mark_measured(self, tenant_ids: Sequence[str], now: datetime) -> None:
        self.asked |= dict.fromkeys(tenant_ids, now - timedelta(minutes=10))

    def forget(self, before: datetime, limit: int) -> int:
        old = [event_id for event_id, at in self.counted.items() if at < before][:limit]
        for event_id in old:
            del self.counted[event_id]
        return len(old)


class FakeRequestCounters:
    """``RequestMinutes`` in a dictionary; ``usage`` takes what was metered of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.usage = FakeUsage(self)
        self.minutes: dict[tuple[str, datetime], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.on_their_way: dict[str, tuple[Unmetered, datetime]] = {}

    def count(self, tenant_id: str, now: datetime) -> int:
        with self._lock:
            self.minutes[tenant_id, minute_of(now)][REQUESTS] += 1
            return int(self.minutes[tenant_id, minute_of(now)][REQUESTS])

    def add(self, tenant_id: str, now: datetime, *, searches: int = 0, egress_bytes: int = 0) -> None:
        with self._lock:
            for metric, quantity in ((SEARCHES, searches), (EGRESS, egress_bytes)):
                self.minutes[tenant_id, minute_of(now)][metric] += quantity

    def so_far(self, tenant_id: str, now: datetime) -> int:
        with self._lock:
            return int(self.minutes.get((tenant_id, minute_of(now)), {}).get(REQUESTS, 0))

    def close_minutes(self, before: datetime, limit: int) -> int:
        with self._lock:
            old = sorted((key for key in self.minutes if key[1] < before), key=lambda key: key[1])[:limit]
            for tenant_id, day in sorted({(tenant_id, day_of(minute)) for tenant_id, minute in old}):
                mine = [key for key in old if (key[0], day_of(key[1])) == (tenant_id, day)]
                self._send(tenant_id, max(minute for _, minute in mine), [self.minutes.pop(key) for key in mine])
            return len(old)

    def _send(self, tenant_id: str, at: datetime, counted: list[dict[str, float]]) -> None:
        sums: dict[str, float] = defaultdict(float)
        for metric, quantity in itertools.chain.from_iterable(
            quantities_of_minute.items() for quantities_of_minute in counted
        ):
            sums[metric] += quantity
        quantities = {metric: quantity for metric, quantity in sums.items() if quantity}
        if quantities:
            event_id = f"folded-{next(self._numbers)}"
            self.on_their_way[event_id] = (Unmetered(event_id, tenant_id, at, quantities), at)

    def unmetered(self, now: datetime, again: datetime, limit: int) -> list[Unmetered]:
        with self._lock:
            due = [unmetered for unmetered, at in self.on_their_way.values() if at <= now][:limit]
            self.on_their_way |= {unmetered.event_id: (unmetered, again) for unmetered in due}
            return sorted(due, key=lambda unmetered: (unmetered.occurred_at, unmetered.event_id))

    def days(self) -> Totals:
        found: Totals = defaultdict(float)
        counted = [(tenant_id, minute, count) for (tenant_id, minute), count in self.minutes.items()]
        sent = [
            (unmetered.tenant_id, unmetered.occurred_at, unmetered.quantities)
            for unmetered, _ in self.on_their_way.values()
        ]
        for tenant_id, at, quantities in [*counted, *sent]:
            for metric, quantity in quantities.items():
                if quantity:
                    found[tenant_id, day_of(at), metric] += quantity
        return found


class FakeBudgets:
    """``Budgets`` in dictionaries, over what a ``FakeUsage`` metered."""

    def __init__(self, usage: FakeUsage, tenants: "FakeDirectory") -> None:
        self._usage, self._tenants = usage, tenants
        self._budgets: dict[str, dict[str, Budget]] = defaultdict(dict)
        self._warned: dict[tuple[str, str, date, int], tuple[BudgetWarning, bool]] = {}

    def of_tenant(self, tenant_id: str, month: date) -> list[BudgetState]:
        given = sorted(self._budgets[tenant_id].values(), key=lambda budget: budget.metric)
        return [BudgetState(budget, month, self._used(tenant_id, budget.metric, month)) for budget in given]

    def _used(self, tenant_id: str, metric: str, month: date) -> float:
        last = month_after(month) - timedelta(days=1)
        rows = [row for row in self._usage.rows(month, last, tenant_id, None, 1 << 30) if row.metric == metric]
        if metric in GAUGES:
            return rows[-1].quantity if rows else 0
        return sum(row.quantity for row in rows)

    def save(self, tenant_id: str, budgets: Sequence[Budget], month: date) -> None:
        given = {budget.metric: budget for budget in budgets}
        self._budgets[tenant_id] = given
        for key, (warning, _) in list(self._warned.items()):
            now = given.get(warning.metric)
            changed = now is None or (now.limit, now.action) != (warning.limit, warning.action)
            if warning.tenant_id == tenant_id and warning.month >= month and changed:
                del self._warned[key]

    def evaluate(self, now: datetime, month: date, tenant_id: str | None = None) -> None:
        for owner in [*self._budgets] if tenant_id is None else [tenant_id]:
            states = self.of_tenant(owner, month)
            for state in states:
                self._note(owner, state, now)
            metrics = [state.budget.metric for state in states if state.exhausted and state.budget.action == "pause"]
            pause = IngestionPause(metrics[0], start_of(month_after(month))) if metrics else None
            try:
                self._tenants.add(replace(self._tenants.get(owner), paused=pause))
            except TenantNotFound:
                continue

    def _note(self, owner: str, state: BudgetState, now: datetime) -> None:
        budget = state.budget
        for percent in (*budget.warn_percent, EXHAUSTED_PERCENT):
            if state.used >= budget.limit * percent / 100:
                one = BudgetWarning(
                    owner, budget.metric, state.month, percent, now, state.used, budget.limit, budget.action
                )
                self._warned.setdefault((owner, budget.metric, state.month, percent), (one, False))

    def unnotified(self, month: date, limit: int) -> list[BudgetWarning]:
        warnings = [warning for warning, told in self._warned.values() if not told and warning.month == month]
        due_warnings = [
            warning for warning in warnings if USAGE_BUDGET in self._tenants.get(warning.tenant_id).notified
        ]
        return sorted(
            due_warnings, key=lambda warning: (warning.reached_at, warning.tenant_id, warning.metric, warning.percent)
        )[:limit]

    def mark_notified(self, warned: Sequence[BudgetWarning], now: datetime) -> None:
        for warning in warned:
            key = (warning.tenant_id, warning.metric, warning.month, warning.percent)
            self._warned[key] = (self._warned[key][0], True)
