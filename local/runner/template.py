"""Read template.yaml as plain data: functions, event sources, queues. Intrinsics are resolved with local values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.runner.intrinsics import Resolver

GLOBAL_DEFAULTS = {"Timeout": 3, "MemorySize": 128}


class TemplateError(Exception):
    """The template declares something that this runner does not support; the message names it."""


@dataclass(frozen=True, slots=True)
class KafkaEvent:
    topic: str
    group_id: str
    batch_size: int
    window_seconds: float
    bisect: bool
    max_retry_attempts: int
    max_record_age_seconds: int
    on_failure: str
    """``kafka://topic``, or the ARN of a bucket."""
    stream_arn: str
    partial: bool
    """Responses name the records that failed (``ReportBatchItemFailures``); without it they are ignored."""


@dataclass(frozen=True, slots=True)
class HttpEvent:
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class SqsEvent:
    queue: str
    """URL or ARN of the queue."""
    batch_size: int
    window_seconds: float
    partial: bool


@dataclass(frozen=True, slots=True)
class ScheduleEvent:
    expression: str
    payload: str
    """The event as JSON; empty for the scheduler's default event."""


type EventSource = KafkaEvent | HttpEvent | SqsEvent | ScheduleEvent


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function as declared. ``layers`` are folders on its import path."""

    logical_id: str
    code: Path
    handler: str
    timeout_seconds: float
    memory_mb: int
    environment: dict[str, str]
    layers: tuple[Path, ...]
    events: tuple[EventSource, ...]

    @property
    def name(self) -> str:
        return self.code.name


@dataclass(frozen=True, slots=True)
class Template:
    functions: tuple[FunctionSpec, ...]
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Topics of SNS."""

    def function(self, name: str) -> FunctionSpec:
        """Find a function by folder or logical id. Raises ``TemplateError``, which lists the functions."""
        for spec in self.functions:
            if name in (spec.name, spec.logical_id):
                return spec
        raise TemplateError(f"no function {name!r}; there are {', '.join(sorted(s.name for s in self.functions))}")

    def environment(self, name: str) -> str:
        """Return the value of a variable in the first function that has it; empty if none has."""
        return next((spec.environment[name] for spec in self.functions if name in spec.environment), "")


def load(path: Path, parameters: Mapping[str, str], resources: Mapping[str, str]) -> Template:
    """Read a SAM template.

    Parameters
    ----------
    parameters : values that replace the defaults of the template's parameters.
    resources : local values of ``!Ref`` by logical id, and of ``!GetAtt`` by ``Id.Attribute``.
    """
    document = yaml.load(path.read_text(), Loader=TagLoader)  # noqa: S506 - a SafeLoader with CloudFormation's tags
    declared: dict[str, dict[str, Any]] = document.get("Resources", {})
    layers = {
        name: (path.parent / resource["Properties"]["ContentUri"]).resolve()
        for name, resource in declared.items()
        if resource["Type"] == "AWS::Serverless::LayerVersion"
    }
    resolver = Resolver(document, parameters, {**{name: name for name in layers}, **resources})
    existing = {name: resource for name, resource in declared.items() if resolver.holds(resource.get("Condition"))}
    common = resolver.resolve(document.get("Globals", {}).get("Function", {}))
    functions = tuple(
        _function(name, common, resolver.resolve(resource["Properties"]), path.parent, layers)
        for name, resource in existing.items()
        if resource["Type"] == "AWS::Serverless::Function"
    )
    _require_unique_folders(functions)
    queues, topics = (
        {
            name: resolver.resolve(resource.get("Properties", {}))
            for name, resource in existing.items()
            if resource["Type"] == kind
        }
        for kind in ("AWS::SQS::Queue", "AWS::SNS::Topic")
    )
    return Template(functions, queues, topics)


def _require_unique_folders(functions: Sequence[FunctionSpec]) -> None:
    """Raise ``TemplateError`` if two functions share a folder, which names them in ``status``, logs and ``invoke``."""
    for folder, count in Counter(spec.name for spec in functions).items():
        if count > 1:
            raise TemplateError(f"{count} functions have the folder {folder}; give each its own")


def _function(
    logical_id: str, common: dict[str, Any], properties: dict[str, Any], root: Path, layers: Mapping[str, Path]
) -> FunctionSpec:
    merged = GLOBAL_DEFAULTS | common | properties
    for required in ("CodeUri", "Handler"):
        if required not in merged:
            raise TemplateError(f"{logical_id} has no {required}; only zip functions in a folder run here")
    variables = {
        **common.get("Environment", {}).get("Variables", {}),
        **properties.get("Environment", {}).get("Variables", {}),
    }
    layer_names = [*common.get("Layers", []), *properties.get("Layers", [])]
    return FunctionSpec(
        logical_id=logical_id,
        code=(root / merged["CodeUri"]).resolve(),
        handler=merged["Handler"],
        timeout_seconds=float(merged["Timeout"]),
        memory_mb=int(merged["MemorySize"]),
        environment={name: _text(value) for name, value in variables.items()},
        layers=tuple(layers[name] for name in layer_names if name in layers),
        events=tuple(
            source for name, event in merged.get("Events", {}).items() for source in _events(logical_id, name, event)
        ),
    )


def _events(function: str, name: str, event: dict[str, Any]) -> list[EventSource]:
    kind, properties = event["Type"], event.get("Properties", {})
    if not _true(properties.get("Enabled", True)) or properties.get("State") == "DISABLED":
        return []
    match kind:
        case "MSK":
            return [_kafka(f"{function}.{name}", topic, properties) for topic in properties["Topics"]]
        case "HttpApi":
            return [HttpEvent(properties.get("Method", "ANY").upper(), properties.get("Path", "$default"))]
        case "SQS":
            size, window = properties.get("BatchSize", 10), properties.get("MaximumBatchingWindowInSeconds", 0)
            return [SqsEvent(str(properties["Queue"]), int(size), float(window), _partial(properties))]
        case "Schedule" | "ScheduleV2":
            expression = properties.get("Schedule") or properties.get("ScheduleExpression")
            return [ScheduleEvent(str(expression), str(properties.get("Input", "")))]
    raise TemplateError(
        f"{function}.{name}: events of type {kind} do not run here; use MSK, HttpApi, SQS or ScheduleV2"
    )


def _kafka(where: str, topic: str, properties: dict[str, Any]) -> KafkaEvent:
    if "ConsumerGroupId" not in properties:
        raise TemplateError(f"{where} has no ConsumerGroupId; without one AWS makes up a new group at each deployment")
    return KafkaEvent(
        topic=topic,
        group_id=properties["ConsumerGroupId"],
        batch_size=int(properties.get("BatchSize", 100)),
        window_seconds=float(properties.get("MaximumBatchingWindowInSeconds", 0.5)),
        bisect=_true(properties.get("BisectBatchOnFunctionError", False)),
        max_retry_attempts=int(properties.get("MaximumRetryAttempts", -1)),
        max_record_age_seconds=int(properties.get("MaximumRecordAgeInSeconds", -1)),
        on_failure=properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""),
        stream_arn=str(properties.get("Stream", "")),
        partial=_partial(properties),
    )


def _partial(properties: dict[str, Any]) -> bool:
    return "ReportBatchItemFailures" in properties.get("FunctionResponseTypes", [])


def _true(value: Any) -> bool:
    return str(value).lower() == "true"


def _text(value: Any) -> str:
    """Return a variable's value as CloudFormation writes it: YAML's ``true`` is ``true``, not Python's ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class TagLoader(yaml.CSafeLoader):
    """Load YAML with CloudFormation's short tags: ``!Ref x`` is ``{"Ref": x}``, ``!Sub x`` is ``{"Fn::Sub": x}``."""


def _tag(loader: TagLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


TagLoader.add_multi_constructor("!", _tag)
