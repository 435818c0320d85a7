"""Invoke functions on a schedule as EventBridge Scheduler does: ``rate(…)`` and ``cron(…)`` expressions, in UTC."""

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from local.runner.template import ScheduleEvent, TemplateError
from local.runner.worker import Pool

RATE = re.compile(r"rate\(([1-9]\d*) (second|minute|hour|day)s?\)")
CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
PART = re.compile(r"(?:(\*|\?)|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?")
NAMES = {
    name: number
    for names in ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT")
    for number, name in enumerate(names.split(), start=1)
}
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
"""Ranges of minute, hour, day of month, month, day of week (1 is Sunday) and year."""
MAX_INTERVAL = timedelta(days=366 * 8)
"""A schedule that is not due within this time is never due: 29 February may be absent for eight years."""

type Next = Callable[[datetime], datetime]


def schedule(expression: str) -> Next:
    """Return a function that gives the next due time after a time.

    Raises ``TemplateError`` for an expression that is not supported here.
    """
    if match := RATE.fullmatch(expression):
        interval = timedelta(**{f"{match[2]}s": int(match[1])})
        return lambda after: after + interval
    if match := CRON.fullmatch(expression):
        fields = [_values(part, *limits, expression) for part, limits in zip(match.groups(), RANGES, strict=True)]
        return lambda after: _next_match(fields, after, expression)
    raise TemplateError(f"schedule {expression!r} does not run here; use rate(N minutes) or cron(m h D M W Y)")


def _values(field: str, lowest: int, highest: int, expression: str) -> frozenset[int]:
    text = re.sub("[A-Z]{3}", lambda name: str(NAMES.get(name[0], name[0])), field)
    values: set[int] = set()
    for part in text.split(","):
        match = PART.fullmatch(part)
        if not match:
            raise TemplateError(f"schedule {expression!r} does not run here: {field!r} is not understood")
        first = lowest if match[1] else int(match[2])
        last = int(match[3] or (highest if match[1] or match[4] else first))
        values |= {value for value in range(first, last + 1, int(match[4] or 1)) if lowest <= value <= highest}
    return frozenset(values)


def _next_match(fields: list[frozenset[int]], after: datetime, expression: str) -> datetime:
    minutes, hours, days, months, weekdays, years = fields
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment - after < MAX_INTERVAL:
        weekday = moment.isoweekday() % 7 + 1
        if not (moment.day in days and moment.month in months and weekday in weekdays and moment.year in years):
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
        elif moment.hour not in hours:
            moment = moment.replace(minute=0) + timedelta(hours=1)
        elif moment.minute not in minutes:
            moment += timedelta(minutes=1)
        else:
            return moment
    raise TemplateError(f"schedule {expression!r} is never due")


class ScheduleSource:
    """Invoke a function whenever its schedule is due. A due time during an invocation is skipped."""

    def __init__(self, event: ScheduleEvent, pool: Pool, log: Callable[[str], None]) -> None:
        self.pool, self._log = pool, log
        self._next, self._payload = schedule(event.expression), event.payload
        self._next(datetime.now(UTC))  # Raises here, not in the thread, if the schedule is never due.
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"schedule {pool.spec.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = self._next(datetime.now(UTC))
        while not self._stopping.wait(max(0.0, (due - datetime.now(UTC)).total_seconds())):
            result = self.pool.invoke(json.loads(self._payload) if self._payload else schedule_event())
            if result.failed:
                self._log(f"schedule {self.pool.spec.name}: {result.error}")
            now = datetime.now(UTC)
            due = self._next(due) if self._next(due) > now else self._next(now)


def schedule_event() -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [],
        "detail": "{}",
    }
