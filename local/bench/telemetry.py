"""Measure what spans and metrics cost: at a cold start, and per record of a warm function, with a collector here.

The warm function is the batch handler with an empty stage that makes the calls of a typical one, each in its span, and
sends one event per record; broker and network are left out of both measurements.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord
from deeplens.common.stage import Done, Outcome
from deeplens.events.usage import TenantUsage
from deeplens.kafka.handler import BatchHandler
from deeplens.kafka.report import report
from deeplens.kafka.spans import send_span
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.instruments import SENT
from deeplens.telemetry.metrics import Meter, timed
from deeplens.telemetry.metrics import record as record_metric
from deeplens.telemetry.otlp import OtlpExporter
from deeplens.telemetry.otlp_metrics import MetricsExporter

from local.bench.figures import Figures
from local.services.process import free_port
from local.stack.stack import REPOSITORY
from local.telemetry.receiver import TelemetryReceiver
from local.telemetry.store import FILE

SHARED_CALLS, CALLS_PER_RECORD = 4, 3
AT = datetime(2026, 1, 1, tzinfo=UTC)
USAGE = TenantUsage(tenant_id="tenant_a", metric="m", quantity=1, unit="u", occurred_at=AT)
PROGRAM = """
import json, time
import deeplens.bootstrap.handlers
from deeplens.bootstrap.telemetry import configure_telemetry
from deeplens.settings import Settings
cpu, wall = time.process_time(), time.perf_counter()
configure_telemetry(Settings())
print(json.dumps([(time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000]))
"""


class _Stage:
    """Makes no call, in as many spans as a stage makes calls."""

    name, consumes = "bench", TenantUsage

    def __call__(self, batch: Sequence[Event]) -> list[Outcome]:
        for _ in range(SHARED_CALLS):
            with timed("database"), tracing.span("postgresql tenant"):
                pass
        for event in batch:
            with tracing.about(event):
                for _ in range(CALLS_PER_RECORD):
                    with timed("storage"), tracing.span("store get"):
                        pass
        return [Done((USAGE,))] * len(batch)


class _Publisher:
    """Sends nothing, in the spans and counts of the real one."""

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        for sent in messages:
            record = OutgoingRecord("deeplens.tenant.usage", b"", b"", sent.event_id, sent.traceparent)
            tracing.end(send_span(record))
            record_metric(SENT, topic=record.topic)
        return [True] * len(messages)


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def bench_telemetry(repeats: int = 7, invocations: int = 300, batch: int = 10) -> Figures:
    """Measure what telemetry adds to a cold start and to a record, in milliseconds of CPU and of wall time.

    Parameters
    ----------
    invocations : number of invocations of ``batch`` records each: without telemetry, with spans, and with both.
    """
    with tempfile.TemporaryDirectory() as folder:
        receiver = TelemetryReceiver(Path(folder) / FILE, free_port())
        receiver.start()
        try:
            cold_cpu, cold_wall = _cold(repeats, receiver.url)
            plain = _per_record(invocations, batch)
            exporter = OtlpExporter(receiver.url, {"faas.name": "bench"}, 2.0)
            tracing.configure(tracing.Tracer(exporter))
            traced = _per_record(invocations, batch)
            metrics.configure(Meter([MetricsExporter(exporter, exponential=True)]))
            measured = _per_record(invocations, batch)
        finally:
            tracing.configure(None)
            metrics.configure(None)
            receiver.stop()
    return {
        "cold_start_cpu_ms": cold_cpu,
        "cold_start_ms": cold_wall,
        "batch": batch,
        "spans_per_record": SHARED_CALLS + CALLS_PER_RECORD + 2,
        **{f"off_{name}_ms_per_record": value for name, value in plain.items()},
        **{f"spans_{name}_ms_per_record": value for name, value in traced.items()},
        **{f"spans_and_metrics_{name}_ms_per_record": value for name, value in measured.items()},
        **{f"added_{name}_ms_per_record": measured[name] - plain[name] for name in plain},
    }


def _cold(repeats: int, url: str) -> tuple[float, float]:
    """The median cost of switching spans on, after everything that a function imports anyway."""
    environment = {
        "PYTHONPATH": str(REPOSITORY / "layers" / "core"),
        "PATH": os.environ["PATH"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
    }
    command = [sys.executable, "-c", PROGRAM]
    outputs = [
        subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(repeats + 1)
    ]
    # The first run may compile bytecode.
    cpu, wall = zip(*map(json.loads, outputs[1:]), strict=True)
    return statistics.median(cpu), statistics.median(wall)


def _per_record(invocations: int, batch: int) -> dict[str, float]:
    """The median time per record of warm invocations. CPU is that of the thread, not of the receiver beside it."""
    handler = BatchHandler(_Stage(), _Publisher(), _Clock())  # type: ignore[arg-type]
    event, cpu, wall = _event(batch), [], []
    for _ in range(invocations):
        thread, started = time.thread_time(), time.perf_counter()
        handler(event, report)
        cpu.append((time.thread_time() - thread) * 1000 / batch)
        wall.append((time.perf_counter() - started) * 1000 / batch)
    return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


def _event(batch: int) -> dict[str, Any]:
    value, topic = b64encode(USAGE.to_wire()).decode(), "deeplens.tenant.usage"
    records = [
        {
            "topic": topic,
            "partition": 0,
            "offset": number,
            "value": value,
            "timestamp": 1_767_225_600_000,
            "headers": [{"traceparent": list(f"00-{number + 1:032x}-{number + 1:016x}-01".encode())}],
        }
        for number in range(batch)
    ]
    return {"records": {f"{topic}-0": records}}
