"""The alarms of objectives and event sources and the dashboard of CloudWatch: a part of template.yaml."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from local.observability.slos import FAST, MIN_BAD_EVENTS, OBJECTIVES, SLOW, Objective
from local.runner.template import KafkaEvent, load

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
BEGIN, END = (
    "  # Written by `make observability` from local/observability/cloudwatch.py.\n",
    "  # End of what is written.\n",
)
TOPIC = "!If [AlertsTopicIsOwn, !Ref AlertsTopic, !Ref AlarmTopicArn]"
STACK = ("stack", "${AWS::StackName}")
SECONDS = {"5m": 300, "1h": 3600, "1d": 86400}
WIDTH, HEIGHT, PER_ROW = 8, 6, 3


class EventSourceAlarm(NamedTuple):
    """An alarm on what the pollers of Kafka measure, for so many minutes in a row."""

    name: str
    metric: str
    threshold: int
    minutes: int
    description: str


EVENT_SOURCE_ALARMS = (
    EventSourceAlarm(
        "FailingEventsAlarm",
        "SUM(FailedInvokeEventCount)",
        0,
        3,
        "Records are retried; a shared dependency is unavailable or a function is broken. See docs/observe.md",
    ),
    EventSourceAlarm(
        "LagWarningAlarm",
        "MAX(SumOffsetLag)",
        1000,
        5,
        "More than 1,000 records wait in a topic. See docs/runbooks/ConsumerLag.md",
    ),
    EventSourceAlarm(
        "LagAlarm",
        "MAX(SumOffsetLag)",
        10000,
        5,
        "More than 10,000 records wait in a topic. See docs/runbooks/ConsumerLag.md",
    ),
)


def written() -> str:
    """The template with this part up to date."""
    before, _, rest = TEMPLATE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    of_objectives = [alarm for objective in OBJECTIVES for alarm in _alarms(objective)]
    alarms = "\n".join([*map(_of_event_sources, EVENT_SOURCE_ALARMS), *of_objectives])
    return f"{before}{BEGIN}{alarms}\n{_dashboard()}{END}{after}"


def _of_event_sources(alarm: EventSourceAlarm) -> str:
    """An alarm on this stack's event sources. It is a query, as metric math stops at ten metrics."""
    _, kafka = _functions()
    own = " OR ".join(f"EventSourceMappingUUID = '{identifier}'" for identifier in kafka.values())
    return f"""  {alarm.name}:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmDescription: {alarm.description}
      AlarmActions: [{TOPIC}]
      ComparisonOperator: GreaterThanThreshold
      Threshold: {alarm.threshold}
      EvaluationPeriods: {alarm.minutes}
      TreatMissingData: notBreaching
      Metrics:
        - Id: worst
          Period: 60
          Expression: !Sub >-
            SELECT {alarm.metric} FROM SCHEMA("AWS/Lambda", EventSourceMappingUUID)
            WHERE {own}
"""  # noqa: S608 - metrics, not a database


def _alarms(objective: Objective) -> Iterator[str]:
    """An alarm for somebody now, where a long and a short window agree, and one for this week.

    An alarm has one period, so two of them are put together by a third.
    """
    fast, slow = FAST[0], SLOW[0]
    name = objective.alert
    yield _alarm(f"{name}Hour", objective, fast.factor, fast.long)
    yield _alarm(f"{name}Minutes", objective, fast.factor, fast.short)
    yield f"""  {name}Alarm:
    Type: AWS::CloudWatch::CompositeAlarm
    Properties:
      AlarmDescription: {objective.promise}; the budget of a month would last two days. See docs/runbooks/{name}.md
      AlarmActions: [{TOPIC}]
      AlarmRule: !Sub ALARM("${{{name}Hour}}") AND ALARM("${{{name}Minutes}}")
"""
    yield _alarm(f"{name}DayAlarm", objective, slow.factor, slow.long, f"      AlarmActions: [{TOPIC}]\n")


def _alarm(logical_id: str, objective: Objective, factor: float, window: str, actions: str = "") -> str:
    percent = round(100 * factor * (1 - objective.target), 4)
    metrics = "\n".join(_metric(objective, identifier, stat, window) for identifier, stat in _stats(objective).items())
    return f"""  {logical_id}:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmDescription: {objective.promise}; not in the last {window}. See docs/runbooks/{objective.alert}.md
{actions}      ComparisonOperator: GreaterThanThreshold
      Threshold: {percent:g}
      EvaluationPeriods: 1
      TreatMissingData: notBreaching
      Metrics:
        - {{Id: burn, Expression: "{_percent_of_bad(objective, 1 if window == FAST[0].short else MIN_BAD_EVENTS)}"}}
{metrics}
"""


def _stats(objective: Objective) -> dict[str, str]:
    """The statistics that an alarm reads, by their ids."""
    if objective.within_seconds is None:
        return {"bad": "Sum", "ok": "Sum"}
    return {"slow": f"PR({objective.within_seconds:g}:)", "all": "SampleCount"}


def _percent_of_bad(objective: Objective, least: int = 0) -> str:
    """Metric math for the percentage of bad events; 0 for fewer than ``least`` of them."""
    if objective.within_seconds is None:
        return f"IF(bad >= {least}, 100 * bad / (bad + FILL(ok, 0)), 0)"
    return f"IF(slow * all / 100 >= {least}, slow, 0)"


def _metric(objective: Objective, identifier: str, stat: str, window: str) -> str:
    dimensions = dict(objective.dimensions)
    if objective.within_seconds is None:
        dimensions["outcome"] = {"bad": "failed", "ok": "ok"}[identifier]
    named = "".join(f", {{Name: {name}, Value: {value}}}" for name, value in dimensions.items())
    return f"""        - Id: {identifier}
          ReturnData: false
          MetricStat:
            Metric:
              Namespace: DeepLens
              MetricName: {objective.cloudwatch}
              Dimensions: [{{Name: stack, Value: !Ref AWS::StackName}}{named}]
            Period: {SECONDS[window]}
            Stat: "{stat}\""""


def _dashboard() -> str:
    widgets = [_placed(index, widget) for index, widget in enumerate(_widgets())]
    lines = ",\n          ".join(json.dumps(widget, separators=(",", ":")) for widget in widgets)
    return f"""  Dashboard:
    Type: AWS::CloudWatch::Dashboard
    Properties:
      DashboardBody: !Sub
        - |
          {{"start":"-PT3H","widgets":[
          {lines}
          ]}}
        - Cluster: !Select [1, !Split ["/", !Ref KafkaClusterArn]]
          Server: !Select [0, !Split [".", !Ref DatabaseAddress]]
"""


def _placed(index: int, widget: dict[str, Any]) -> dict[str, Any]:
    place = {"x": WIDTH * (index % PER_ROW), "y": HEIGHT * (index // PER_ROW), "width": WIDTH, "height": HEIGHT}
    return {"type": "metric", **place, "properties": {"region": "${AWS::Region}", "view": "timeSeries", **widget}}


def _widgets() -> Iterator[dict[str, Any]]:
    """One after the other, three in a row."""
    functions, kafka = _functions()
    for objective in OBJECTIVES:
        stat = _stats(objective)
        identifiers = [_series(objective, identifier, stat[identifier]) for identifier in stat]
        burn = [{"id": "burn", "label": "% bad", "expression": _percent_of_bad(objective)}]
        yield {"title": objective.promise, "metrics": [burn, *identifiers], "period": 3600}
    yield _own("Prober", "Sum", [("ProbeRuns", "outcome", value) for value in ("passed", "failed")])
    requests = [
        ["DeepLens", "ApiRequests", *STACK, "operation", operation, "outcome", outcome]
        for operation in ("upload", "search", "other")
        for outcome in ("ok", "refused", "failed")
    ]
    yield {"title": "Requests", "metrics": requests, "stat": "Sum", "period": 60}
    yield _own("Searches, p95 (s)", "p95", [("ApiSeconds", "operation", "search")])
    yield _own(
        "Accepted to searchable, p95; oldest image (s)", "p95", [("ProcessingSeconds",), ("OldestPendingSeconds",)]
    )
    yield _own("Pipeline: records", "Sum", [(f"Records{end}",) for end in ("Done", "Invalid", "Failed", "Waiting")])
    yield _own("Dead letters", "Maximum", [("DeadLettersOpen",)])
    yield _of("Kafka: records that wait", "SumOffsetLag", "Maximum", "EventSourceMappingUUID", kafka)
    yield _of("Functions: duration, p95 (ms)", "Duration", "p95", "FunctionName", functions)
    yield _of("Functions: errors", "Errors", "Sum", "FunctionName", functions)
    yield _of("Functions: throttles", "Throttles", "Sum", "FunctionName", functions)
    endpoint = ["EndpointName", "${InferenceEndpointName}", "VariantName", "AllTraffic"]
    latency = [["AWS/SageMaker", name, *endpoint] for name in ("ModelLatency", "OverheadLatency")]
    yield {"title": "Inference: latency, p95 (µs)", "metrics": latency, "stat": "p95", "period": 60}
    yield _searched("Kafka: disk (%)", "AWS/Kafka", "KafkaDataLogsDiskUsed", "${Cluster}")
    yield _searched("Database: connections", "AWS/RDS", "DatabaseConnections", "${Server}")


def _functions() -> tuple[dict[str, str], dict[str, str]]:
    """Names of functions, and of their event sources of Kafka, by the label of a line."""
    specs = load(TEMPLATE, {}, {}).functions
    kafka = [spec for spec in specs if any(isinstance(event, KafkaEvent) for event in spec.events)]
    return (
        {spec.name: f"${{{spec.logical_id}}}" for spec in specs},
        {spec.name: f"${{{spec.logical_id}Topic}}" for spec in kafka},
    )


def _series(objective: Objective, identifier: str, stat: str) -> list[Any]:
    dimensions = [part for item in objective.dimensions for part in item]
    if objective.within_seconds is None:
        dimensions += ["outcome", {"bad": "failed", "ok": "ok"}[identifier]]
    options = {"id": identifier, "stat": stat, "visible": False}
    return ["DeepLens", objective.cloudwatch, *STACK, *dimensions, options]


def _own(title: str, stat: str, metrics: list[tuple[str, ...]]) -> dict[str, Any]:
    named = [["DeepLens", name, *STACK, *dimensions] for name, *dimensions in metrics]
    return {"title": title, "metrics": named, "stat": stat, "period": 60}


def _of(title: str, metric: str, stat: str, dimension: str, values: dict[str, str]) -> dict[str, Any]:
    named = [["AWS/Lambda", metric, dimension, value, {"label": label}] for label, value in values.items()]
    return {"title": title, "metrics": named, "stat": stat, "period": 60}


def _searched(title: str, namespace: str, metric: str, term: str) -> dict[str, Any]:
    search = f"SEARCH('Namespace=\"{namespace}\" MetricName=\"{metric}\" {term}', 'Maximum', 60)"
    return {"title": title, "metrics": [[{"expression": search}]], "period": 60}
