"""The runner can run every function of the platform's template.yaml."""

import json
from pathlib import Path

import pytest
from deeplens.events.topics import TOPICS

from local.runner.schedule_source import schedule
from local.runner.template import EventSource, FunctionSpec, HttpEvent, KafkaEvent, ScheduleEvent, load

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = load(ROOT / "template.yaml", {"ProbeEnabled": "true"}, {})
BY_NAME = {spec.name: spec for spec in TEMPLATE.functions}
EVENTS: list[tuple[FunctionSpec, EventSource]] = [(spec, event) for spec in TEMPLATE.functions for event in spec.events]
KAFKA = [(spec, event) for spec, event in EVENTS if isinstance(event, KafkaEvent)]
MAX_TIMEOUT_SECONDS = 14 * 60
"""Lambda's for functions on Kafka."""


def test_every_folder_with_a_handler_is_a_function_and_every_function_has_one() -> None:
    assert {path.parent for path in (ROOT / "functions").glob("*/handler.py")} == {s.code for s in TEMPLATE.functions}


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=lambda spec: spec.name)
def test_each_function_can_be_run(spec: FunctionSpec) -> None:
    module, _, _ = spec.handler.rpartition(".")
    assert (spec.code / f"{module}.py").is_file()
    assert spec.events
    assert ROOT / "layers" / "core" in spec.layers
    assert all(layer.is_dir() for layer in spec.layers)
    assert 128 <= spec.memory_mb <= 10_240
    assert 0 < spec.timeout_seconds <= MAX_TIMEOUT_SECONDS


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=lambda spec: spec.name)
def test_variables_are_strings_and_none_refers_to_what_only_a_deployment_has(spec: FunctionSpec) -> None:
    assert {"DEEPLENS_ENVIRONMENT", "KAFKA_BROKERS", "QDRANT_URL"} <= spec.environment.keys()
    assert all(isinstance(value, str) for value in spec.environment.values())
    assert "{" not in json.dumps(list(spec.environment.values()))


def test_the_prober_runs_each_minute_only_where_it_is_switched_on() -> None:
    assert BY_NAME["on_probe_schedule"].events == (ScheduleEvent("rate(1 minute)", ""),)
    assert load(ROOT / "template.yaml", {}, {}).function("on_probe_schedule").events == ()


def test_given_parameters_reach_every_function() -> None:
    parameters = {"KafkaBrokers": "b-1:9098,b-2:9098", "LogLevel": "DEBUG"}
    for spec in load(ROOT / "template.yaml", parameters, {}).functions:
        assert spec.environment["KAFKA_BROKERS"] == "b-1:9098,b-2:9098"
        assert spec.environment["POWERTOOLS_LOG_LEVEL"] == "DEBUG"


def test_every_topic_invokes_its_functions_each_with_its_own_consumer_group() -> None:
    assert sorted(event.topic for _, event in KAFKA) == sorted(t.name for t in TOPICS for _ in t.consumers)
    assert len({event.group_id for _, event in KAFKA}) == len(KAFKA)


@pytest.mark.parametrize(("spec", "event"), KAFKA, ids=lambda value: value.name if hasattr(value, "name") else "")
def test_no_record_is_dropped_and_none_blocks_its_partition(spec: FunctionSpec, event: KafkaEvent) -> None:
    assert event.partial
    assert event.bisect
    assert event.max_retry_attempts > 0
    assert event.max_record_age_seconds > 0
    assert event.on_failure
    assert event.on_failure != f"kafka://{event.topic}", "a topic that fails into itself never ends"
    if event.on_failure.startswith("kafka://"):
        assert event.on_failure.removeprefix("kafka://") in {topic.name for topic in TOPICS}


def test_the_topic_and_group_of_whatsapps_messages_are_parameters() -> None:
    parameters = {"WhatsAppTopic": "chats", "WhatsAppConsumerGroup": "readers"}
    spec = load(ROOT / "template.yaml", parameters, {}).function("on_whatsapp_message")
    assert [(e.topic, e.group_id) for e in spec.events if isinstance(e, KafkaEvent)] == [("chats", "readers")]
    assert (spec.environment["KAFKA_TOPIC"], spec.environment["KAFKA_CLIENT_ID"]) == ("chats", "whatsapp-processor")


def test_topics_groups_and_their_dead_letters_begin_with_the_prefix() -> None:
    template = load(ROOT / "template.yaml", {"NamePrefix": "dev-"}, {})
    events = [event for spec in template.functions for event in spec.events if isinstance(event, KafkaEvent)]
    names = [name for event in events for name in (event.topic, event.group_id, event.on_failure) if "arn" not in name]
    assert len(names) > 3 * len(TOPICS)
    assert {name.removeprefix("kafka://")[:4] for name in names if not name.startswith("local:")} == {"dev-"}
    assert {spec.environment["NAME_PREFIX"] for spec in template.functions} == {"dev-"}


IDENTITY_PATHS = (
    *("/connect/{proxy+}", "/.well-known/{proxy+}"),
    *("/account", "/account/{proxy+}", "/swagger", "/swagger/{proxy+}"),
)


def test_functions_serve_the_apis_and_three_run_on_a_schedule() -> None:
    assert [(s.name, e) for s, e in EVENTS if isinstance(e, HttpEvent)] == [
        ("search_api", HttpEvent("ANY", "/v1/{proxy+}")),
        ("admin_api", HttpEvent("ANY", "/v1/admin/{proxy+}")),
        *(("identity_api", HttpEvent("ANY", path)) for path in IDENTITY_PATHS),
        ("whatsapp_webhook", HttpEvent("ANY", "/v1/whatsapp/{proxy+}")),
    ]
    clocked = {s.name: e for s, e in EVENTS if isinstance(e, ScheduleEvent)}
    assert clocked.keys() == {"on_schedule", "on_administration_schedule", "on_probe_schedule"}
    assert all(schedule(event.expression) for event in clocked.values())
