"""EventBridge Scheduler: ``rate(…)`` expressions."""

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from local.runner.template import ScheduleEvent, TemplateError
from local.runner.worker import Pool

RATE = re.compile(r"rate\((\d+) (second|minute|hour|day)s?\)")
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def interval_seconds(expression: str) -> int:
    """Seconds of ``rate(5 minutes)``. Raises ``TemplateError`` for another expression."""
    found = RATE.fullmatch(expression)
    if not found:
        raise TemplateError(f"schedule {expression!r} does not run here; use rate(N minutes)")
    return int(found[1]) * SECONDS[found[2]]


class ScheduleSource:
    """Invokes a function every so often, first after one interval."""

    def __init__(self, event: ScheduleEvent, pool: Pool, log: Callable[[str], None]) -> None:
        self._interval, self.pool, self._log = interval_seconds(event.expression), pool, log
        self._payload = event.payload
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
        due = time.monotonic() + self._interval
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            # One run at a time: what a long one missed is not made up for.
            due = max(due + self._interval, time.monotonic())
            result = self.pool.invoke(json.loads(self._payload) if self._payload else schedule_event())
            if result.failed:
                self._log(f"schedule {self.pool.spec.name}: {result.error}")


def schedule_event() -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": now,
        "region": "us-east-1",
        "resources": [],
        "detail": {},
    }
