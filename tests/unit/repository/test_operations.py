"""What operators rely on: logs at the chosen level, alarms, versions that are taken back, connections that suffice."""

import copy
import logging
import re
import tomllib
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws_lambda_powertools import Logger

from local.checks import connections
from local.checks.template import problems, translate
from local.runner.intrinsics import VARIABLE, Resolver
from local.runner.template import TagLoader

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)
RESOURCES: dict[str, dict[str, Any]] = translate(ROOT / "template.yaml")["Resources"]
ALARMS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
FUNCTIONS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::Lambda::Function"}
SAM: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())


@pytest.mark.parametrize(
    ("level", "of_lambda", "number"),
    [
        ("DEBUG", "DEBUG", logging.DEBUG),
        ("INFO", "INFO", logging.INFO),
        ("WARNING", "WARN", logging.WARNING),
        ("ERROR", "ERROR", logging.ERROR),
    ],
)
def test_functions_log_at_the_level_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, level: str, of_lambda: str, number: int
) -> None:
    config = Resolver(DOCUMENT, {"LogLevel": level}, {}).resolve(DOCUMENT["Globals"]["Function"])["LoggingConfig"]
    assert config["ApplicationLogLevel"] == of_lambda
    # Lambda sets this variable, and Powertools prefers it to its own.
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", of_lambda)
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", level)
    assert Logger(service=f"test-{level}").log_level == number


def test_every_log_is_deleted_after_the_days_that_are_asked_for() -> None:
    groups = {name: r for name, r in RESOURCES.items() if r["Type"] == "AWS::Logs::LogGroup"}
    assert all("RetentionInDays" in group["Properties"] for group in groups.values())
    assert {str(function["LoggingConfig"]["LogGroup"]) for function in FUNCTIONS.values()} == {"{'Ref': 'FunctionLog'}"}
    assert "FunctionLog" in groups


@pytest.mark.parametrize(
    ("alarm", "metric", "watched"),
    [
        ("ApiErrorsAlarm", "5xx", {"HttpApi"}),
        ("FailingApisAlarm", "Errors", {"SearchApi", "AdminApi", "IdentityApi", "WhatsAppWebhook"}),
        ("FailingScheduleAlarm", "Errors", {"OnSchedule", "OnAdministrationSchedule"}),
        ("SilentScheduleAlarm", "Invocations", {"OnSchedule"}),
        ("UndeliverableAlarm", "OnFailureDestinationDeliveredEventCount", {"OnDeadLetterTopic"}),
        (
            "OldMessagesAlarm",
            "ApproximateAgeOfOldestMessage",
            {name for name, r in RESOURCES.items() if r["Type"] == "AWS::SQS::Queue"},
        ),
    ],
)
def test_an_alarm_watches_all_that_it_names(alarm: str, metric: str, watched: set[str]) -> None:
    properties = ALARMS[alarm]
    metrics = [m["MetricStat"]["Metric"] for m in properties.get("Metrics", []) if "MetricStat" in m] or [properties]
    assert {m["MetricName"] for m in metrics} == {metric}
    assert {name for m in metrics for name in _references(m["Dimensions"])} == watched
    assert properties["AlarmActions"]


def test_throttles_are_watched_where_requests_queues_and_schedules_wait() -> None:
    metrics = ALARMS["ThrottledAlarm"]["Metrics"]
    watched = {name for m in metrics if "MetricStat" in m for name in _references(m["MetricStat"])}
    apis_and_queues = {"SearchApi", "AdminApi", "IdentityApi", "WhatsAppWebhook", "OnObjectCreated", "OnRetryDue"}
    assert watched == apis_and_queues | {name for name in FUNCTIONS if name.endswith("Schedule")}


@pytest.mark.parametrize("alarm", [name for name, alarm in ALARMS.items() if "AlarmActions" in alarm])
def test_every_alarm_that_notifies_is_in_the_documents(alarm: str) -> None:
    named = re.findall(r"`…?(\w+Alarm)`", (ROOT / "docs" / "observe.md").read_text())
    assert any(alarm.endswith(name) for name in named)


def test_every_queue_reports_what_it_hands_over_and_is_limited() -> None:
    sources = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Lambda::EventSourceMapping"]
    queues = [source for source in sources if "Queue" in str(source["EventSourceArn"]) or "Undeliv" in str(source)]
    queues = [source for source in queues if "Topics" not in source]
    assert len(queues) == 4
    assert all(source["MetricsConfig"] == {"Metrics": ["EventCount"]} for source in queues)
    assert all(source["ScalingConfig"]["MaximumConcurrency"] for source in queues)


def test_a_new_version_of_an_api_is_taken_back_when_it_fails() -> None:
    groups = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::CodeDeploy::DeploymentGroup"]
    apis = [
        name
        for name, resource in DOCUMENT["Resources"].items()
        if any(event["Type"] == "HttpApi" for event in resource.get("Properties", {}).get("Events", {}).values())
    ]
    assert len(groups) == len(apis) == 4
    for group in groups:
        assert group["AlarmConfiguration"]["Alarms"] == [{"Name": {"Ref": "FailingApisAlarm"}}]
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]


def test_no_resource_waits_for_itself() -> None:
    """CloudFormation counts the references of update policies; an alarm on the HTTP API would close a circle."""
    edges = {name: {*_references(resource)} & RESOURCES.keys() for name, resource in RESOURCES.items()}
    assert {*TopologicalSorter(edges).static_order()} == RESOURCES.keys()
    assert "HttpApi" in edges["ApiErrorsAlarm"]


def _references(node: Any) -> Iterator[str]:
    """The resources that a part of the template refers to."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        match key:
            case "Ref" | "DependsOn":
                yield from [value] if isinstance(value, str) else value
            case "Fn::GetAtt":
                yield value.split(".")[0] if isinstance(value, str) else value[0]
            case "Fn::Sub":
                text = value if isinstance(value, str) else value[0]
                yield from (name.split(".")[0] for name in VARIABLE.findall(text))
                yield from _references(value)
            case _:
                yield from _references(value)


def test_the_connections_of_all_functions_fit_the_server_of_the_defaults() -> None:
    assert [*connections.problems(DOCUMENT)] == []
    total = sum(need.connections for need in connections.needs(DOCUMENT))
    assert 0 < total <= connections.MAX_CONNECTIONS - connections.FOR_OPERATORS


@pytest.mark.parametrize("size", connections.SIZES, ids=lambda size: size.server)
def test_each_documented_size_leaves_connections_for_operators(size: connections.Size) -> None:
    total = sum(need.connections for need in connections.needs(DOCUMENT, size.partitions, size.parameters))
    assert total <= size.max_connections - connections.FOR_OPERATORS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t["Parameters"]["TenantConnections"].update(Default=8), "connections, but of 900 50 are"),
        (
            lambda t: t["Resources"]["SearchApi"]["Properties"].pop("ReservedConcurrentExecutions"),
            "search_api opens connections without a limit",
        ),
        (
            lambda t: t["Resources"]["OnObjectCreated"]["Properties"]["Events"]["Queue"]["Properties"].pop(
                "ScalingConfig"
            ),
            "on_object_created opens connections without a limit",
        ),
    ],
)
def test_a_template_that_needs_too_many_connections_is_refused(
    change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    assert any(problem in found for found in problems(document)), problems(document)


def test_the_connections_are_in_the_documents() -> None:
    table = connections.table(DOCUMENT)
    assert table in (ROOT / "docs" / "deploy.md").read_text(), f"replace the table of docs/deploy.md:\n{table}"


def test_the_stacks_of_samconfig_have_names_and_prefixes_of_their_own() -> None:
    stacks = {name: SAM[name]["deploy"]["parameters"] for name in ("dev", "prod")}
    given = {
        name: dict(pair.split("=", 1) for pair in stack["parameter_overrides"].split())
        for name, stack in stacks.items()
    }
    assert stacks["dev"]["stack_name"] != stacks["prod"]["stack_name"]
    assert (given["dev"]["NamePrefix"], given["prod"].get("NamePrefix", "")) == ("dev-", "")
    assert {parameter for values in given.values() for parameter in values} <= DOCUMENT["Parameters"].keys()
    assert all("application=deeplens" in stack["tags"] for stack in stacks.values())
