"""The alarms of the template: one for each alert, of this stack alone, on metrics that DeepLens writes."""

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from deeplens.telemetry.instruments import INSTRUMENTS

from local.observability.slos import OBJECTIVES
from local.runner.template import TagLoader

ROOT = Path(__file__).resolve().parents[4]
RESOURCES: dict[str, dict[str, Any]] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)["Resources"]
ALARMS = {
    name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == "AWS::CloudWatch::Alarm"
}
COMPOSITE = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::CompositeAlarm"
}
ONLY_PROMETHEUS = {"StackUnreachable"}
"""CloudWatch asks nobody for metrics."""
MAX_EXPRESSION_LENGTH = 2048
MATH = re.compile(r"\b[a-z]+\b")


def words(label: Any) -> list[str]:
    return [word.capitalize() for word in label.values.split("|")]


def known() -> dict[str, set[str]]:
    """The dimensions of every metric in CloudWatch, by its name."""
    found: dict[str, set[str]] = {}
    for instrument in INSTRUMENTS.values():
        named = [label for label in instrument.labels if f"{{{label.keyword}}}" in instrument.cloudwatch]
        for values in product(*map(words, named)):
            keywords = dict(zip((label.keyword for label in named), values, strict=True))
            found[instrument.cloudwatch.format(**keywords)] = {"stack", *instrument.dimensions}
    return found


def own_metrics() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Alarm, metric and dimensions of every metric of DeepLens that an alarm reads."""
    for name, alarm in ALARMS.items():
        metrics = [entry.get("MetricStat", {}).get("Metric", {}) for entry in alarm.get("Metrics", [])]
        for metric in [*metrics, alarm]:
            if metric.get("Namespace") == "DeepLens":
                dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
                yield name, metric["MetricName"], dimensions


def test_each_alert_has_an_alarm() -> None:
    alerts = {
        rule["alert"]
        for path in (ROOT / "local" / "observability" / "rules").glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    heard = [alarm for alarm in [*ALARMS.values(), *COMPOSITE.values()] if "AlarmActions" in alarm]
    named = {match[1] for alarm in heard if (match := re.search(r"docs/runbooks/(\w+)\.md", alarm["AlarmDescription"]))}

    assert named == alerts - ONLY_PROMETHEUS


def test_alarms_of_two_installations_in_one_account_are_apart() -> None:
    found = list(own_metrics())

    assert len(found) > 30
    assert [name for name, _, dimensions in found if dimensions.get("stack") != {"Ref": "AWS::StackName"}] == []
    assert [name for name, alarm in {**ALARMS, **COMPOSITE}.items() if "AlarmName" in alarm] == []
    entries = [entry for alarm in ALARMS.values() for entry in alarm.get("Metrics", [])]
    of_us = [entry["Expression"] for entry in entries if 'SCHEMA("DeepLens"' in str(entry.get("Expression"))]
    assert [query for query in of_us if "WHERE stack = '${AWS::StackName}'" not in query["Fn::Sub"]] == []


def test_alarms_on_event_sources_name_each_of_this_stack() -> None:
    kafka = {
        f"{name}{event}"
        for name, resource in RESOURCES.items()
        for event, source in resource.get("Properties", {}).get("Events", {}).items()
        if source["Type"] == "MSK"
    }
    for alarm in ("FailingEventsAlarm", "LagWarningAlarm", "LagAlarm"):
        (metric,) = ALARMS[alarm]["Metrics"]
        query = metric["Expression"]["Fn::Sub"]
        assert set(re.findall(r"EventSourceMappingUUID = '\$\{(\w+)\}'", query)) == kafka
        assert len(query) + 36 * len(kafka) < MAX_EXPRESSION_LENGTH


def test_alarms_read_metrics_that_are_written() -> None:
    wrong = [
        (name, metric, dimensions)
        for name, metric, dimensions in own_metrics()
        if metric not in known() or not dimensions.keys() <= known()[metric]
    ]

    assert wrong == []


@pytest.mark.parametrize("name", [name for name, alarm in ALARMS.items() if "Metrics" in alarm])
def test_an_expression_names_metrics_of_its_alarm(name: str) -> None:
    entries = ALARMS[name]["Metrics"]
    expressions = [entry["Expression"] for entry in entries if not entry.get("MetricStat")]
    ids = {entry["Id"] for entry in entries if entry.get("MetricStat")}

    assert len(expressions) == 1
    if ids and "METRICS()" not in expressions[0]:
        assert set(MATH.findall(expressions[0])) == ids
    assert [entry["Id"] for entry in entries if entry.get("ReturnData", True)] == [entries[0]["Id"]]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_an_objective_alarms_when_a_long_and_a_short_window_agree(objective: Any) -> None:
    rule = COMPOSITE[f"{objective.alert}Alarm"]["AlarmRule"]["Fn::Sub"]
    hour, minutes = re.findall(r'ALARM\("\$\{(\w+)\}"\)', rule)

    assert " AND " in rule
    periods = [
        {entry["MetricStat"]["Period"] for entry in ALARMS[name]["Metrics"] if "MetricStat" in entry}
        for name in (hour, minutes, f"{objective.alert}DayAlarm")
    ]
    assert periods == [{3600}, {300}, {86400}]
    assert ALARMS[hour]["Threshold"] == pytest.approx(14.4 * 100 * (1 - objective.target))
    assert "AlarmActions" not in ALARMS[hour]


def test_the_dashboard_shows_metrics_that_are_written_and_functions_that_exist() -> None:
    template, variables = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(template)["widgets"]
    series = [metric for widget in widgets for metric in widget["properties"]["metrics"] if isinstance(metric[0], str)]

    own = [[part for part in metric if isinstance(part, str)] for metric in series if metric[0] == "DeepLens"]
    assert [metric for metric in own if metric[2:4] != ["stack", "${AWS::StackName}"]] == []
    assert [metric for metric in own if metric[1] not in known() or not set(metric[4:6:2]) <= known()[metric[1]]] == []
    references = set(re.findall(r"\$\{(\w+)\}", template)) - variables.keys() - {"InferenceEndpointName"}
    assert {name.removesuffix("Topic") for name in references} <= RESOURCES.keys()
    places = [(widget["x"], widget["y"]) for widget in widgets]
    assert len(set(places)) == len(places)
