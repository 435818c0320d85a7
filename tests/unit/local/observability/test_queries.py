"""Every query of a dashboard and of an alert parses, and names only metrics and labels that DeepLens has."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from deeplens.telemetry.instruments import INSTRUMENTS
from prometheus_client.parser import text_string_to_metric_families

from functions.inference_endpoint.metrics import Metrics
from local.observability.boards import BOARDS
from local.observability.panels import Board
from local.observability.slos import OBJECTIVES

FOLDER = Path(__file__).resolve().parents[4] / "local" / "observability"
TOPICS = {"overview", "pipeline", "tenant", "function", "inference", "kafka", "database"}
OF_PROMETHEUS = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity"},
}
OF_EVERY_FUNCTION = {"faas_name"}
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}
VARIABLE = {"$__rate_interval": "5m", "$tenant": "tenant_acme", "$function": "search_api"}
RULE_FILES = sorted((FOLDER / "rules").glob("*.yaml"))


def rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


@cache
def known() -> dict[str, set[str]]:
    """The labels of every series by its name."""
    found = dict(OF_PROMETHEUS)
    for instrument in INSTRUMENTS.values():
        labels = {label.prometheus for label in instrument.labels} | OF_EVERY_FUNCTION
        for suffix in SUFFIXES.get(instrument.kind, ("",)):
            found[instrument.prometheus + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    found |= of_the_endpoint()
    recorded = {rule["record"] for path in RULE_FILES for rule in rules(path) if "record" in rule}
    return found | {name: {"slo"} for name in recorded}


def of_the_endpoint() -> dict[str, set[str]]:
    """The series of the inference endpoint, after one request."""
    metrics = Metrics()
    for name in ("models_loaded", "requests_under_way", "images_under_way"):
        metrics.gauge(name, "", lambda: 0)
    metrics.count_request("model", 200, 0.1)
    metrics.count_call("model", 1, 0.1)
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if sample.name.startswith("deeplens_inference_")
    }


def faults(query: str) -> list[str]:
    """What is wrong with a query: it does not parse, or has a metric or a label that nobody exports."""
    for name, value in VARIABLE.items():
        query = query.replace(name, value)
    try:
        parsed = promql_parser.parse(query)
    except ValueError as error:
        return [f"{query}: {error}"]
    return list(_faults(parsed))


def _faults(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.VectorSelector):
        labels = known().get(node.name)
        if labels is None:
            yield f"nobody exports {node.name}"
            return
        unknown = {matcher.name for matcher in node.matchers.matchers} - labels
        yield from (f"{node.name} has no label {name}" for name in sorted(unknown))
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        there = {label for name in _metrics(node.expr) for label in known().get(name, set())}
        yield from (f"no metric of {node} has the label {name}" for name in sorted({*node.modifier.labels} - there))
    for child in _children(node):
        yield from _faults(child)


def _children(node: Any) -> list[Any]:
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    return [part for part in [*parts, *getattr(node, "args", [])] if part is not None]


def _metrics(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name
    for child in _children(node):
        yield from _metrics(child)


def queries(board: Board) -> list[str]:
    """The PromQL of a provisioned dashboard, as Grafana reads it."""
    document = json.loads((FOLDER / "grafana" / "dashboards" / f"{board.name}.json").read_text())
    return [
        target["expr"]
        for panel in document["panels"]
        for target in panel.get("targets", [])
        if target["datasource"]["type"] == "prometheus"
    ]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_dashboard_asks_only_for_what_is_exported(board: Board) -> None:
    found = queries(board)

    assert len(found) >= 5
    assert {query: wrong for query in found if (wrong := faults(query))} == {}
    for variable in board.variables:
        assert variable.label in known()[variable.metric]


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_a_rule_asks_only_for_what_is_exported(path: Path) -> None:
    found = [rule["expr"] for rule in rules(path)]

    assert found
    assert {query: wrong for query in found if (wrong := faults(query))} == {}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(rate(", "unclosed left parenthesis"),
        ("sum(deeplens_images_lost_total)", "nobody exports deeplens_images_lost_total"),
        ('kafka_consumer_group_lag{shard="1"}', "kafka_consumer_group_lag has no label shard"),
        ("sum by (shard) (kafka_consumer_group_lag)", "has the label shard"),
        ("deeplens_api_duration_seconds", "nobody exports deeplens_api_duration_seconds"),
        ("up > 1 or sum(rate(foo[5m]))", "nobody exports foo"),
    ],
)
def test_the_check_notices_what_is_wrong(query: str, fault: str) -> None:
    assert any(fault in found for found in faults(query)), faults(query)


def test_there_is_a_dashboard_for_each_topic_and_a_panel_for_each_objective() -> None:
    assert {board.name for board in BOARDS} == TOPICS
    assert {path.stem for path in (FOLDER / "grafana" / "dashboards").glob("*.json")} == TOPICS
    overview = " ".join(queries(next(board for board in BOARDS if board.name == "overview")))
    assert [objective.name for objective in OBJECTIVES if f'slo="{objective.name}"' not in overview] == []


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_an_objective_counts_a_bucket_that_its_histogram_has(objective: Any) -> None:
    bound = re.search(r'(\w+)_bucket\{.*le=~"([\d.]+)\(', objective.good)
    if bound is None:
        assert objective.bad
        return
    (instrument,) = (found for found in INSTRUMENTS.values() if found.prometheus == bound[1])
    assert float(bound[2]) in instrument.bounds


def test_panels_refer_to_provisioned_data_sources() -> None:
    sources = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    texts = [path.read_text() for path in (FOLDER / "grafana" / "dashboards").glob("*.json")]
    used = {uid for text in texts for uid in re.findall(r'"uid": "(\w+)"', text)}

    assert used == {"prometheus", "loki"} <= {source["uid"] for source in sources}
