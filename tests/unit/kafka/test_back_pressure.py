"""What keeps an execution environment within its share: connections it may open, time it may take."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from deeplens.bootstrap import handlers as bootstrap
from deeplens.bootstrap.container import Container
from deeplens.common.event import Event
from deeplens.common.stage import Done, Outcome
from deeplens.events.usage import TenantUsage
from deeplens.kafka.pace import Pace
from deeplens.settings import Settings

from tests.harness.api import START, RecordingPublisher, TickingClock

USAGE = b64encode(
    TenantUsage(tenant_id="tenant_a", metric="m", quantity=1, unit="u", occurred_at=START).to_wire()
).decode()


def test_open_tenant_databases_are_capped_by_a_setting() -> None:
    assert Container(Settings(tenant_connections=2)).connections._limit == 2
    assert Container(Settings()).connections._limit == 4


@dataclass
class Invocation:
    """Lambda's context and this machine's clock: ten seconds pass with every record."""

    name, consumes = "slow", TenantUsage
    now: float = 0
    ends: float = 0
    worked: int = 0

    def __call__(self, batch: Sequence[Event]) -> list[Outcome]:
        self.now += 10 * len(batch)
        self.worked += len(batch)
        return [Done()] * len(batch)

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self.ends - self.now))


@pytest.mark.parametrize(("seconds", "worked"), [(300, 5), (60, 3), (5, 1)])
def test_a_function_takes_on_what_lambda_leaves_it_time_for(
    monkeypatch: pytest.MonkeyPatch, seconds: int, worked: int
) -> None:
    slow = Invocation()
    container = SimpleNamespace(publisher=RecordingPublisher(), clock=TickingClock(), build=lambda _: slow)
    monkeypatch.setattr(bootstrap, "container", lambda: container)
    monkeypatch.setattr("deeplens.kafka.handler.Pace", lambda: Pace(lambda: slow.now))
    handler = bootstrap.pipeline_handler(lambda: slow)
    records = [{"topic": "t", "partition": 0, "offset": n, "value": USAGE, "headers": []} for n in range(6)]
    slow.ends = 300
    assert handler({"records": {"t-0": records[:1]}}, slow) == {"batchItemFailures": []}

    slow.ends = slow.now + seconds
    answer = handler({"records": {"t-0": records[1:]}}, slow)
    assert slow.worked == 1 + worked
    come_again = [failure["itemIdentifier"]["offset"] for failure in answer["batchItemFailures"]]
    assert come_again == ([1 + worked] if worked < 5 else [])
