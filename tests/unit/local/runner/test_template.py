"""template.yaml is read as data: intrinsics, globals, events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.runner.template import HttpEvent, KafkaEvent, ScheduleEvent, SqsEvent, Template, TemplateError, load

type Load = Callable[..., Template]

BASE = """
Parameters:
  Stage: {Type: String, Default: local}
  Size: {Type: Number, Default: 7}
  Brokers: {Type: String}
Mappings:
  Memory: {local: {small: 256}, production: {small: 1024}}
Conditions:
  IsLocal: !Equals [!Ref Stage, local]
  IsCloud: !Not [!Condition IsLocal]
  Both: !And [!Condition IsLocal, !Equals [a, a]]
  Either: !Or [!Condition IsCloud, !Condition IsLocal]
"""


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    def from_text(text: str, parameters: dict[str, str] | None = None, **resources: str) -> Template:
        path = tmp_path / "template.yaml"
        path.write_text(BASE + text)
        return load(path, parameters or {}, {name.replace("__", "."): value for name, value in resources.items()})

    return from_text


def function(extra: str = "", events: str = "") -> str:
    """Load a template with one function; ``extra`` and ``events`` are YAML in flow style."""
    return f"""
Resources:
  Queue: {{Type: AWS::SQS::Queue, Properties: {{VisibilityTimeout: !Ref Size}}}}
  Core: {{Type: AWS::Serverless::LayerVersion, Properties: {{ContentUri: layers/core}}}}
  Extra: {{Type: AWS::Serverless::LayerVersion, Properties: {{ContentUri: layers/extra}}}}
  OnThing:
    Type: AWS::Serverless::Function
    Properties: {{CodeUri: functions/on_thing/, Handler: handler.handler, {extra} Events: {{{events}}}}}
"""


def variable(load_text: Load, value: str, parameters: dict[str, str] | None = None, **resources: str) -> str | None:
    text = function(f"Environment: {{Variables: {{V: {value}}}}},")
    return load_text(text, parameters, **resources).functions[0].environment.get("V")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("5", "5"),
        ("true", "true"),
        ("!Ref Stage", "local"),
        ("{Ref: Stage}", "local"),
        ("!Ref Brokers", ""),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::NoValue", None),
        ("!Ref Queue", "http://sqs/queue"),
        ("!GetAtt Queue.Arn", "arn:queue"),
        ("{'Fn::GetAtt': [Queue, Arn]}", "arn:queue"),
        ("!Ref Elsewhere", "local:Elsewhere"),
        ("!Sub '${Stage}-${AWS::AccountId}-${Queue.Arn}-${!Raw}'", "local-000000000000-arn:queue-${Raw}"),
        ("!Sub ['${A}/${Stage}', {A: !Ref Size}]", "7/local"),
        ("!Join ['-', [a, !Ref Stage]]", "a-local"),
        ("!Select [1, [a, b]]", "b"),
        ("!Select [0, !Split [':cluster/', 'arn:cluster/x']]", "arn"),
        ("!FindInMap [Memory, !Ref Stage, small]", "256"),
        ("!If [IsLocal, here, there]", "here"),
        ("!If [IsCloud, there, !Ref AWS::NoValue]", None),
        ("!If [Both, yes_, no_]", "yes_"),
        ("!If [Either, yes_, no_]", "yes_"),
        ("!ImportValue something", "local:Fn::ImportValue"),
    ],
)
def test_intrinsics_become_local_values(load_text: Load, value: str, expected: str | None) -> None:
    assert variable(load_text, value, Queue="http://sqs/queue", Queue__Arn="arn:queue") == expected


def test_given_parameters_win_over_defaults(load_text: Load) -> None:
    assert variable(load_text, "!FindInMap [Memory, !Ref Stage, small]", {"Stage": "production"}) == "1024"


def test_globals_apply_unless_a_function_overrides_them(load_text: Load, tmp_path: Path) -> None:
    globals_ = """
Globals:
  Function:
    Timeout: 60
    MemorySize: 512
    Layers: [!Ref Core]
    Environment: {Variables: {SHARED: all, LEVEL: INFO}}
"""
    own = "Timeout: 5, Layers: [!If [IsLocal, !Ref Extra, !Ref AWS::NoValue], 'arn:aws:lambda:elsewhere:1'],"
    spec = load_text(globals_ + function(f"{own} Environment: {{Variables: {{LEVEL: DEBUG}}}},")).functions[0]
    assert (spec.timeout_seconds, spec.memory_mb) == (5, 512)
    assert spec.environment == {"SHARED": "all", "LEVEL": "DEBUG"}
    assert spec.layers == (tmp_path / "layers/core", tmp_path / "layers/extra")
    assert (spec.name, spec.code) == ("on_thing", tmp_path / "functions/on_thing")


def test_lambdas_defaults_apply_without_settings(load_text: Load) -> None:
    spec = load_text(function()).functions[0]
    assert (spec.timeout_seconds, spec.memory_mb, spec.environment, spec.layers) == (3, 128, {}, ())


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            "E: {Type: MSK, Properties: {Stream: arn, Topics: [one], ConsumerGroupId: g}}",
            [KafkaEvent("one", "g", 100, 0.5, False, -1, -1, "", "arn", False)],
        ),
        (
            "E: {Type: MSK, Properties: {Stream: arn, Topics: [one, two], ConsumerGroupId: g, BatchSize: !Ref Size, "
            "MaximumBatchingWindowInSeconds: 0, BisectBatchOnFunctionError: true, MaximumRetryAttempts: 3, "
            "MaximumRecordAgeInSeconds: 60, FunctionResponseTypes: [ReportBatchItemFailures], "
            "DestinationConfig: {OnFailure: {Destination: 'kafka://dead'}}}}",
            [KafkaEvent(name, "g", 7, 0, True, 3, 60, "kafka://dead", "arn", True) for name in ("one", "two")],
        ),
        ("E: {Type: HttpApi}", [HttpEvent("ANY", "$default")]),
        ("E: {Type: HttpApi, Properties: {Method: get, Path: '/v1/{id}'}}", [HttpEvent("GET", "/v1/{id}")]),
        ("E: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn}}", [SqsEvent("arn:queue", 10, 0, False)]),
        (
            "E: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn, BatchSize: 5, MaximumBatchingWindowInSeconds: 2, "
            "FunctionResponseTypes: [ReportBatchItemFailures]}}",
            [SqsEvent("arn:queue", 5, 2, True)],
        ),
        ("E: {Type: Schedule, Properties: {Schedule: rate(5 minutes)}}", [ScheduleEvent("rate(5 minutes)", "")]),
        (
            "E: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), Input: '{\"a\": 1}'}}",
            [ScheduleEvent("rate(1 hour)", '{"a": 1}')],
        ),
        ("E: {Type: Schedule, Properties: {Schedule: rate(1 hour), Enabled: false}}", []),
        ("E: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), State: DISABLED}}", []),
    ],
)
def test_events_are_plain_data(load_text: Load, event: str, expected: list[Any]) -> None:
    assert list(load_text(function(events=event), Queue__Arn="arn:queue").functions[0].events) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (function(events="E: {Type: Kinesis, Properties: {}}"), "OnThing.E: events of type Kinesis do not run here"),
        (function(events="E: {Type: MSK, Properties: {Topics: [one]}}"), "OnThing.E has no ConsumerGroupId"),
        (
            "Resources: {Image: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}}",
            "Image has no CodeUri",
        ),
        (
            "Resources:\n"
            "  A: {Type: AWS::Serverless::Function, Properties: {CodeUri: f/same, Handler: a.b}}\n"
            "  B: {Type: AWS::Serverless::Function, Properties: {CodeUri: g/same, Handler: a.b}}",
            "2 functions have the folder same",
        ),
    ],
)
def test_an_unsupported_declaration_is_named(load_text: Load, text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        load_text(text)


def test_resources_whose_condition_does_not_hold_do_not_exist(load_text: Load) -> None:
    text = function().replace("  OnThing:\n", "  OnThing:\n    Condition: IsCloud\n")
    assert load_text(text).functions == ()
    assert len(load_text(text, {"Stage": "production"}).functions) == 1


def test_queues_are_listed_with_their_properties(load_text: Load) -> None:
    assert load_text(function()).queues == {"Queue": {"VisibilityTimeout": "7"}}


def test_functions_are_found_by_folder_and_by_logical_id(load_text: Load) -> None:
    template = load_text(function())
    assert template.function("on_thing") is template.function("OnThing") is template.functions[0]
    with pytest.raises(TemplateError, match="no function 'other'; there are on_thing"):
        template.function("other")
