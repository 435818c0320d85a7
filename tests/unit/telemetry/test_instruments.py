"""The registry: valid names, labels that users cannot fill, and nothing declared that nobody emits."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from deeplens.telemetry import instruments as of
from deeplens.telemetry.instruments import INSTRUMENTS, OTHER, Instrument

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [path for folder in ("layers/core/deeplens", "functions", "local") for path in (ROOT / folder).rglob("*.py")]
EMITTERS = ("record", "record_metric", "timed", "sample")
ALL = pytest.mark.parametrize("instrument", INSTRUMENTS.values(), ids=str)


def emissions() -> Iterator[tuple[Path, str, set[str]]]:
    """Each call that emits: where, the constant of the instrument, and the labels that it gives."""
    for path in SOURCES:
        if not any(word in (text := path.read_text()) for word in ("instruments", "telemetry.metrics")):
            continue
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            called, first = node.func, node.args[0]
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            constant = first.attr if isinstance(first, ast.Attribute) else getattr(first, "id", "")
            if name in EMITTERS and constant.isupper():
                yield path, constant, {keyword.arg or "" for keyword in node.keywords}


def constant_of(instrument: Instrument) -> str:
    return next(name for name, value in vars(of).items() if value is instrument)


def test_names_are_unique_in_every_system() -> None:
    constants = [value for value in vars(of).values() if isinstance(value, Instrument)]
    assert len(constants) == len(INSTRUMENTS) == len({each.prometheus for each in constants})


@ALL
def test_an_instrument_is_well_formed(instrument: Instrument) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", instrument.name)
    assert re.fullmatch(r"[a-z_]+", instrument.prometheus)
    assert re.fullmatch(r"s|By|1|\{[a-z]+\}", instrument.unit)
    keywords = [label.keyword for label in instrument.labels]
    assert len(set(keywords)) == len(keywords)
    assert bool(instrument.bounds) == (instrument.kind == "histogram")
    assert list(instrument.bounds) == sorted(set(instrument.bounds))
    assert {*instrument.dimensions, *re.findall(r"\{(\w+)\}", instrument.cloudwatch)} <= set(keywords)


@pytest.mark.parametrize(
    ("instrument", "name"),
    [
        (of.CONSUMED, "messaging_client_consumed_messages_total"),
        (of.HTTP_DURATION, "http_server_request_duration_seconds"),
        (of.BATCH_SIZE, "deeplens_batch_size"),
        (of.WINDOW_USE, "deeplens_window_use_ratio"),
        (of.TOPIC_SIZE, "kafka_topic_size_bytes"),
        (of.CPU_TIME, "process_cpu_time_seconds_total"),
    ],
)
def test_names_in_prometheus_are_those_of_the_standard_translation(instrument: Instrument, name: str) -> None:
    assert instrument.prometheus == name


@pytest.mark.parametrize(
    ("instrument", "seconds"),
    [
        (of.HTTP_DURATION, {0.3}),
        (of.API_DURATION, {0.3}),
        (of.IMAGE_DURATION, {60, 120}),
        (of.DELETION_DURATION, {60}),
        (of.WEBHOOK_DELAY, {300}),
    ],
)
def test_the_limits_of_objectives_are_bounds(instrument: Instrument, seconds: set[float]) -> None:
    assert seconds <= set(instrument.bounds)


@pytest.mark.parametrize(
    ("label", "given", "kept"),
    [
        (of.OPERATION, "upload", "upload"),
        (of.OPERATION, "cat.jpg", OTHER),
        (of.TENANT, "tenant_a", "tenant_a"),
        (of.TENANT, "tenant_a' or 1=1", OTHER),
        (of.ROUTE, "/v1/images/{image_id}", "/v1/images/{image_id}"),
        (of.ROUTE, "/v1/images/my holiday", OTHER),
        (of.ERROR, "", ""),
        (of.ERROR, "no such file: cat.jpg", OTHER),
    ],
)
def test_a_value_that_a_label_does_not_have_becomes_other(label: of.Label, given: str, kept: str) -> None:
    assert label.checked(given) == kept


def test_each_instrument_is_emitted_and_each_emission_is_registered() -> None:
    registered = {constant_of(instrument): instrument for instrument in INSTRUMENTS.values()}
    unknown = [(str(path), name) for path, name, _ in emissions() if name not in registered]
    assert unknown == []
    assert {constant for _, constant, _ in emissions()} == set(registered)
    for path, constant, given in emissions():
        assert given - {"value"} <= {label.keyword for label in registered[constant].labels}, (path, constant)


def row(instrument: Instrument) -> str:
    labels = ", ".join(f"`{label.prometheus}`" for label in instrument.labels)
    cells = (f"`{instrument.prometheus}`", instrument.kind, labels, instrument.meaning, instrument.source)
    return f"| {' | '.join(cells)} |"


@ALL
def test_the_documentation_has_a_row(instrument: Instrument) -> None:
    lines = (ROOT / "docs" / "observe.md").read_text().splitlines()
    assert row(instrument) in lines, f"docs/observe.md, Metrics, lacks this row:\n{row(instrument)}"


def test_the_documentation_has_no_row_too_much() -> None:
    text = (ROOT / "docs" / "observe.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| `\w+` \| (counter|gauge|histogram) ", line)]
    assert rows == [row(instrument) for instrument in INSTRUMENTS.values()]
