"""The registry of instruments: whatever DeepLens measures is declared here, and nothing else is exported.

Names of HTTP and messaging metrics are those of the OpenTelemetry semantic conventions 1.37. Labels take values that
the code gives, never what users send; tenants appear only where a gauge limits their number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

type Kind = Literal["counter", "gauge", "histogram"]

OTHER: Final = "_other"
"""Stands for a value that a label does not have, and for the tenants beyond ``MAX_TENANTS``."""
MAX_TENANTS: Final = 50
UNIT_SUFFIXES = {"s": "seconds", "By": "bytes"}
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds of a call or request; 0.3 is the limit of the objective of searches."""
SLOW = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 21600, 86400)
"""Seconds of work that passes several functions; 60, 120 and 300 are limits of objectives and alerts."""
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the form of its values.

    Attributes
    ----------
    name : the attribute of OTLP.
    keyword : its name in ``record`` and its dimension in CloudWatch.
    """

    name: str
    keyword: str
    values: str

    @property
    def prometheus(self) -> str:
        return self.name.replace(".", "_")

    def checked(self, value: str) -> str:
        return value if not value or re.fullmatch(self.values, value) else OTHER


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes
    ----------
    unit : of UCUM: ``s``, ``By``, ``1`` for a ratio, or a counted thing in braces.
    source : the part that emits it.
    labels : in the order of a series' values.
    bounds : of the buckets of a histogram with explicit buckets.
    cloudwatch : name in CloudWatch, where alarms need it; ``{outcome}`` stands for that label's value.
    dimensions : keywords of the labels that are dimensions there, behind ``stack``.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    source: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()
    cloudwatch: str = ""
    dimensions: tuple[str, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name by the translation of OpenTelemetry to Prometheus."""
        suffix = UNIT_SUFFIXES.get(self.unit, "ratio" if (self.unit, self.kind) == ("1", "gauge") else "")
        parts = [self.name.replace(".", "_"), suffix, "total" if self.kind == "counter" else ""]
        return "_".join(filter(None, parts))


CODE, WORD, NAME = r"[A-Za-z_]{1,60}", r"[a-z][a-z_]{0,39}", r"[A-Za-z0-9._-]{1,100}"
STAGE = Label("deeplens.stage", "stage", WORD)
TOPIC = Label("messaging.destination.name", "topic", NAME)
ERROR = Label("error.type", "error", CODE)
TENANT = Label("deeplens.tenant.id", "tenant", r"[a-z]+_[a-z0-9_]{1,40}|_other")
METHOD = Label("http.request.method", "method", r"[A-Z]{1,10}|_OTHER")
ROUTE = Label("http.route", "route", r"/[A-Za-z0-9/{}._:-]{0,120}")
STATUS = Label("http.response.status_code", "status", r"[1-5]\d\d")
OPERATION = Label("deeplens.operation", "operation", "upload|search|other")
FUNCTION = Label("faas.name", "function", NAME)
KAFKA_TOPIC, KAFKA_GROUP = Label("topic", "topic", NAME), Label("group", "group", NAME)
KAFKA_PARTITION = Label("partition", "partition", r"\d{1,5}")


def outcome(values: str) -> Label:
    return Label("deeplens.outcome", "outcome", values)


STAGES, APIS, SCHEDULE, RUNNER = "each stage", "APIs", "schedule", "local runner"

CONSUMED = Instrument(
    "messaging.client.consumed.messages",
    "counter",
    "{message}",
    "Records by outcome. `invalid` ones failed by the tenant's own doing, e.g. an unreadable image",
    STAGES,
    (TOPIC, STAGE, outcome("done|dropped|invalid|failed|waiting"), ERROR),
    cloudwatch="Records{outcome}",
    dimensions=("stage",),
)
SENT = Instrument(
    "messaging.client.sent.messages",
    "counter",
    "{message}",
    "Records sent; `error.type` is `undelivered` for those that did not arrive",
    "whatever publishes",
    (TOPIC, ERROR),
)
PROCESS_DURATION = Instrument(
    "messaging.process.duration", "histogram", "s", "One invocation of a stage", STAGES, (TOPIC, STAGE), FAST
)
BATCH_SIZE = Instrument(
    "deeplens.batch.size", "histogram", "{record}", "Records of an invocation", STAGES, (STAGE,), SIZES
)
RECORD_AGE = Instrument(
    "deeplens.record.age", "histogram", "s", "How long a record was in its topic before it was read", STAGES, (STAGE,),
    SLOW,
)  # fmt: skip
IMAGE_DURATION = Instrument(
    "deeplens.image.processing.duration",
    "histogram",
    "s",
    "An image from accepted to searchable",
    "stage `complete`",
    bounds=SLOW,
    cloudwatch="ProcessingSeconds",
)
RETRIES = Instrument(
    "deeplens.retries", "counter", "{record}", "Records that wait for another attempt", "stage `fail`", (STAGE, ERROR)
)
DEAD_LETTERS = Instrument(
    "deeplens.dead_letters", "counter", "{record}", "Records that were given up", "stage `store_dead_letters`",
    (STAGE, ERROR),
)  # fmt: skip
DELETION_DURATION = Instrument(
    "deeplens.deletion.duration",
    "histogram",
    "s",
    "The deletion of an image from requested to complete",
    "stage `maintain`",
    bounds=SLOW,
    cloudwatch="DeletionSeconds",
)
WEBHOOK_DELIVERIES = Instrument(
    "deeplens.webhook.deliveries",
    "counter",
    "{delivery}",
    "Attempts to deliver to a webhook; `failed` is given up",
    "stage `notify`",
    (outcome("delivered|retrying|failed"),),
)
WEBHOOK_DELAY = Instrument(
    "deeplens.webhook.delay",
    "histogram",
    "s",
    "A webhook's delivery, from its event to the answer",
    "stage `notify`",
    bounds=SLOW,
    cloudwatch="WebhookDelaySeconds",
)
DEPENDENCY_DURATION = Instrument(
    "deeplens.dependency.duration",
    "histogram",
    "s",
    "One call; Kafka's is the delivery of a batch, and the database's the use of a connection",
    "all functions",
    (Label("deeplens.dependency", "dependency", "storage|database|index|inference|kafka|webhook"), ERROR),
    FAST,
)
INFERENCE_PHASE = Instrument(
    "deeplens.inference.phase.duration",
    "histogram",
    "s",
    "Where the time of an inference went, as the endpoint reports it",
    "stage `extract`, searches",
    (Label("deeplens.phase", "phase", "queue|decode|run"),),
    FAST,
)
HTTP_DURATION = Instrument(
    "http.server.request.duration", "histogram", "s", "Requests by route", APIS, (METHOD, ROUTE, STATUS), FAST
)
API_REQUESTS = Instrument(
    "deeplens.api.requests",
    "counter",
    "{request}",
    "Requests by objective: `ok` below 400, `refused` 4xx, `failed` 5xx",
    APIS,
    (OPERATION, outcome("ok|refused|failed")),
    cloudwatch="ApiRequests",
    dimensions=("operation", "outcome"),
)
API_DURATION = Instrument(
    "deeplens.api.duration",
    "histogram",
    "s",
    "Requests by objective",
    APIS,
    (OPERATION,),
    FAST,
    "ApiSeconds",
    ("operation",),
)
SECURITY_EVENTS = Instrument(
    "deeplens.security.events",
    "counter",
    "{event}",
    "Security events, among them failed sign-ins",
    APIS,
    (Label("deeplens.event", "event", WORD),),
    cloudwatch="SecurityEvents",
    dimensions=("event",),
)
DROPPED = Instrument(
    "deeplens.telemetry.dropped",
    "counter",
    "{item}",
    "Spans and points of metrics that no collector took",
    "all functions",
    (Label("deeplens.signal", "signal", "spans|points"),),
    cloudwatch="{signal}Dropped",
)
PROBE_STEPS = "upload|process|search|delete"
PROBE_RUNS = Instrument(
    "deeplens.probe.runs",
    "counter",
    "{run}",
    "Probes that ended, `passed` or `failed`; `step` is the one that failed, or `none`",
    "prober",
    (outcome("passed|failed"), Label("deeplens.step", "step", f"{PROBE_STEPS}|none")),
    cloudwatch="ProbeRuns",
    dimensions=("outcome",),
)
PROBE_DURATION = Instrument(
    "deeplens.probe.duration",
    "histogram",
    "s",
    "Steps of a probe: `upload`, `process`, `search`, `delete`",
    "prober",
    (Label("deeplens.step", "step", PROBE_STEPS),),
    SLOW,
)

PENDING = Instrument(
    "deeplens.images.pending",
    "gauge",
    "{image}",
    "Accepted images that have not ended: in flight, or waiting for the tenant's window",
    SCHEDULE,
    (TENANT, Label("deeplens.state", "state", "in_flight|waiting")),
)
PENDING_AGE = Instrument(
    "deeplens.images.pending.age",
    "gauge",
    "s",
    "Age of the oldest accepted image that has not ended; 0 if there is none",
    SCHEDULE,
    cloudwatch="OldestPendingSeconds",
)
WINDOW_USE = Instrument(
    "deeplens.window.use", "gauge", "1", "Images in flight as a part of the tenant's window", SCHEDULE, (TENANT,)
)
WEBHOOKS_WAITING = Instrument(
    "deeplens.webhooks.waiting", "gauge", "{delivery}", "Deliveries that are due", SCHEDULE
)  # fmt: skip
WEBHOOKS_WAITING_AGE = Instrument(
    "deeplens.webhooks.waiting.age", "gauge", "s", "How late the latest due delivery is; 0 if there is none", SCHEDULE
)
DEAD_LETTERS_OPEN = Instrument(
    "deeplens.dead_letters.open",
    "gauge",
    "{record}",
    "Dead letters that nobody replayed or discarded",
    SCHEDULE,
    (TENANT,),
    cloudwatch="DeadLettersOpen",
)
TENANT_USAGE = Instrument(
    "deeplens.tenant.usage",
    "gauge",
    "{unit}",
    "Usage of this day (UTC) by the metrics of `GET /v1/usage`; the level for stored images and bytes",
    SCHEDULE,
    (TENANT, Label("deeplens.metric", "metric", r"[a-z][a-z_.]{0,39}")),
)
DATABASE_CONNECTIONS = Instrument(
    "deeplens.database.connections",
    "gauge",
    "{connection}",
    "Open connections to the platform's server",
    SCHEDULE,
    (Label("deeplens.database", "database", "platform|tenants"),),
)
DATABASE_CONNECTIONS_LIMIT = Instrument(
    "deeplens.database.connections.limit", "gauge", "{connection}", "`max_connections` of that server", SCHEDULE
)

LAG = Instrument(
    "kafka.consumer_group.lag",
    "gauge",
    "{record}",
    "Records that a group has not processed",
    RUNNER,
    (KAFKA_GROUP, KAFKA_TOPIC, KAFKA_PARTITION),
)
CURRENT_OFFSET = Instrument(
    "kafka.partition.current_offset", "gauge", "{record}", "The next offset of a partition", RUNNER,
    (KAFKA_TOPIC, KAFKA_PARTITION),
)  # fmt: skip
TOPIC_SIZE = Instrument("kafka.topic.size", "gauge", "By", "A topic on the broker's disk", RUNNER, (KAFKA_TOPIC,))
DISK_USED = Instrument("kafka.broker.disk.used", "gauge", "By", "Used space of the file system of the broker", RUNNER)
DISK_CAPACITY = Instrument("kafka.broker.disk.capacity", "gauge", "By", "Size of the file system of the broker", RUNNER)
INVOCATIONS = Instrument("faas.invocations", "counter", "{invocation}", "Invocations", RUNNER, (FUNCTION,))
ERRORS = Instrument("faas.errors", "counter", "{error}", "Invocations that failed", RUNNER, (FUNCTION,))
IN_FLIGHT = Instrument("deeplens.function.in_flight", "gauge", "{invocation}", "Running now", RUNNER, (FUNCTION,))
PROCESSES = Instrument("deeplens.function.processes", "gauge", "{process}", "Processes", RUNNER, (FUNCTION,))
PROCESS = Label("deeplens.process", "process", NAME)
CPU_TIME = Instrument(
    "process.cpu.time", "counter", "s", "Processor time of a function's or service's processes", RUNNER, (PROCESS,)
)
MEMORY = Instrument("process.memory.usage", "gauge", "By", "Their resident memory", RUNNER, (PROCESS,))

INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    found.name: found for found in list(globals().values()) if isinstance(found, Instrument)
}
