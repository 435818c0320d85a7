"""The scheduled probe."""

from typing import ClassVar

from deeplens.common.event import Event
from deeplens.probe.model import Probe, ProbedApi
from deeplens.telemetry.instruments import PROBE_DURATION, PROBE_RUNS
from deeplens.telemetry.logs import logger
from deeplens.telemetry.metrics import record


class TickProbe:
    """Run one probe, and count it with the time of each step. Emits nothing."""

    name: ClassVar = "probe"

    def __init__(self, probed_api: ProbedApi) -> None:
        self._api = probed_api

    def __call__(self) -> list[Event]:
        result = Probe(self._api)()
        for step, seconds in result.seconds.items():
            record(PROBE_DURATION, seconds, step=step)
        record(PROBE_RUNS, 1, outcome="failed" if result.failed else "passed", step=result.failed or "none")
        if result.failed:
            logger().warning("probe failed", step=result.failed, reason=result.reason)
        return []
