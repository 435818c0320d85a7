"""topics.py, template.yaml, functions/README.md and the handlers tell one story."""

import ast
import re
from pathlib import Path

import pytest
from deeplens.topics import TOPICS, Topic

from local.runner.template import FunctionSpec, KafkaEvent, load

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = load(ROOT / "template.yaml", {}, {})
KAFKA = [(spec, event) for spec in TEMPLATE.functions for event in spec.events if isinstance(event, KafkaEvent)]
ROW = re.compile(r"^\| (.+?) \| `(\w+)` \| (?:`(\w+)`)? ?\| ?(.*?) ?\|$", re.M)
README = {
    function: (woken_by.strip("`"), set(re.findall(r"`([^`]+)`", emits)))
    for woken_by, function, _, emits in ROW.findall((ROOT / "functions" / "README.md").read_text())
}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_is_produced_is_consumed(topic: Topic) -> None:
    assert bool(topic.producers) == bool(topic.consumers)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_template_wakes_exactly_the_registered_consumers(topic: Topic) -> None:
    assert {spec.name for spec, event in KAFKA if event.topic == topic.name} == set(topic.consumers)


def test_the_template_names_no_unknown_topic() -> None:
    assert {event.topic for _, event in KAFKA} <= {topic.name for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_flow_table_says_who_produces_and_consumes(topic: Topic) -> None:
    assert {name for name, (woken_by, _) in README.items() if woken_by == topic.name} == set(topic.consumers)
    assert {name for name, (_, emits) in README.items() if topic.name in emits} == set(topic.producers)


def test_the_flow_table_lists_every_function_and_no_other() -> None:
    assert README.keys() == {spec.name for spec in TEMPLATE.functions}


@pytest.mark.parametrize(("spec", "event"), KAFKA, ids=lambda value: getattr(value, "name", ""))
def test_every_kafka_trigger_keeps_what_it_cannot_process(spec: FunctionSpec, event: KafkaEvent) -> None:
    assert event.on_failure
    assert event.on_failure != f"kafka://{event.topic}"
    assert event.max_retry_attempts == 10000
    assert event.max_record_age_seconds > 0
    assert event.bisect


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=lambda spec: spec.name)
def test_a_function_is_one_short_handler(spec: FunctionSpec) -> None:
    files = [path for path in spec.code.iterdir() if path.name != "__pycache__"]
    assert [path.name for path in files] == ["handler.py"]
    assert len(files[0].read_text().splitlines()) <= 40


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=lambda spec: spec.name)
def test_a_handler_only_wires(spec: FunctionSpec) -> None:
    tree = ast.parse((spec.code / "handler.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.For | ast.While | ast.FunctionDef)]


def test_functions_have_a_valid_and_a_poison_event() -> None:
    events = {path.name for path in (ROOT / "events").glob("*.json")}
    for spec, _ in KAFKA:
        assert {f"{spec.name}.json", f"{spec.name}.poison.json"} <= events
    assert {"search_api.json", "search_api.poison.json", "on_schedule.json"} <= events


def test_a_kafka_function_fits_lambdas_limits() -> None:
    for spec, _ in KAFKA:
        assert spec.timeout_seconds <= 14 * 60
        assert 1 <= len(spec.layers) <= 5
