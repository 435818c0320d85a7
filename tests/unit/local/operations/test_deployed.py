"""Commands on a deployed stack have the settings that its functions have, from CloudFormation alone."""

from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber

from local.checks.grants import CLUSTER
from local.operations.deployed import OUTPUTS, PARAMETERS, environment_of_stack
from local.runner.intrinsics import Resolver
from local.runner.template import TagLoader
from local.services import ServiceFailed
from local.stack.stack import settings_for

ROOT = Path(__file__).resolve().parents[4]
DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)
GIVEN = {
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "deeplens-dev",
    "NamePrefix": "dev-",
    "KafkaClusterArn": CLUSTER,
    "KafkaBrokers": "b-1:9098",
    "DatabaseAddress": "db:5432/deeplens_platform",
    "DatabaseSecretArn": "arn:secret",
    "QdrantUrl": "https://qdrant:6333",
    "IdentityUrl": "https://api.example",
}
RESOLVER = Resolver(DOCUMENT, GIVEN, {})
ONLY_FUNCTIONS = {
    # Their role of the database instead of the administrator's, and what sam local gives them.
    *("DATABASE_SECRET_ARN", "DATABASE_ADMIN_SECRET_ARN"),
    *("DATABASE_URL", "QDRANT_API_KEY", "TENANT_DATABASE_KEY", "WEBHOOK_KEY"),
    # A path in a layer.
    "PGSSLROOTCERT",
    # They concern logs, traces, metrics, browsers and pools of functions.
    *("POWERTOOLS_LOG_LEVEL", "TENANT_CONNECTIONS", "SESSION_IDLE_MINUTES", "SESSION_HOURS"),
}
TELEMETRY = ("OTEL_", "OPENTELEMETRY_", "DEEPLENS_JAEGER", "METRICS_", "STACK_NAME")


def answer(**changes: Any) -> dict[str, Any]:
    """What CloudFormation says of the stack of ``GIVEN``."""
    parameters = {name: str(GIVEN.get(name, spec.get("Default", ""))) for name, spec in DOCUMENT["Parameters"].items()}
    outputs = {name: RESOLVER.resolve(o["Value"]) for name, o in DOCUMENT["Outputs"].items() if "Condition" not in o}
    return {
        "StackName": "deeplens-dev",
        "CreationTime": "2026-01-01T00:00:00Z",
        "StackStatus": "CREATE_COMPLETE",
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        "Outputs": [{"OutputKey": name, "OutputValue": str(value)} for name, value in outputs.items()],
        **changes,
    }


@pytest.fixture
def cloudformation() -> Any:
    return boto3.client("cloudformation", "eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")


def environment(cloudformation: Any, own: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
    with Stubber(cloudformation) as stubber:
        stubber.add_response("describe_stacks", {"Stacks": [answer(**changes)]}, {"StackName": "deeplens-dev"})
        return environment_of_stack("deeplens-dev", cloudformation, own or {})


def test_commands_have_the_settings_of_the_functions_of_the_stack(cloudformation: Any) -> None:
    found = environment(cloudformation)
    of_functions = {
        **RESOLVER.resolve(DOCUMENT["Globals"]["Function"]["Environment"]["Variables"]),
        **RESOLVER.resolve(DOCUMENT["Resources"]["AdminApi"]["Properties"]["Environment"]["Variables"]),
    }
    compared = {name for name in of_functions if name not in ONLY_FUNCTIONS and not name.startswith(TELEMETRY)}
    assert {name: found.get(name) for name in compared} == {name: str(of_functions[name]) for name in compared}
    settings = settings_for(found)
    assert (settings.name_prefix, settings.kafka_security, settings.aws_region) == ("dev-", "IAM", "eu-central-1")
    assert settings.database_secret_arn == "arn:secret"
    assert len(settings.database_role_secret_arns.split(",")) == 5


def test_variables_of_another_installation_do_not_count(cloudformation: Any) -> None:
    own = {"DATABASE_URL": "postgresql://other", "KAFKA_BROKERS": "other:9092", "PGSSLROOTCERT": "/ca.pem"}
    found = environment(cloudformation, own)
    assert (found["KAFKA_BROKERS"], found["PGSSLROOTCERT"]) == ("b-1:9098", "/ca.pem")
    assert "DATABASE_URL" not in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Outputs": []}, "InstallationId"),
        ({"Parameters": []}, "KafkaBrokers"),
        ({"Outputs": [], "StackStatus": "ROLLBACK_COMPLETE"}, r"\(ROLLBACK_COMPLETE\)"),
    ],
)
def test_a_stack_that_is_incomplete_is_named_with_what_to_do(
    cloudformation: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServiceFailed, match=f"{message}.*Deploy this version"):
        environment(cloudformation, **changes)


@pytest.mark.parametrize(
    ("code", "message"),
    [("ValidationError", "no stack deeplens-dev in eu-central-1"), ("AccessDenied", "Attach its OperatorPolicy")],
)
def test_a_stack_that_cannot_be_read_is_explained(cloudformation: Any, code: str, message: str) -> None:
    with Stubber(cloudformation) as stubber:
        stubber.add_client_error("describe_stacks", code)
        with pytest.raises(ServiceFailed, match=message):
            environment_of_stack("deeplens-dev", cloudformation, {})


def test_the_template_has_what_commands_read() -> None:
    assert {*PARAMETERS.values()} <= DOCUMENT["Parameters"].keys()
    # NoEcho would hide the value from commands as well.
    assert not [name for name in PARAMETERS.values() if DOCUMENT["Parameters"][name].get("NoEcho")]
    assert {*OUTPUTS.values(), "OperatorPolicyArn"} <= DOCUMENT["Outputs"].keys()


def test_the_operators_policy_opens_every_secret_that_commands_read_and_no_bucket() -> None:
    statements = RESOLVER.resolve(DOCUMENT["Resources"]["OperatorPolicy"]["Properties"]["PolicyDocument"]["Statement"])
    resources = {
        resource
        for statement in statements
        if "secretsmanager:GetSecretValue" in statement["Action"]
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    }
    outputs = {name: str(RESOLVER.resolve(DOCUMENT["Outputs"][name]["Value"])) for name in OUTPUTS.values()}
    secrets = ",".join(value for name, value in outputs.items() if name.endswith(("SecretArn", "SecretArns"))).split(
        ","
    )
    assert {*secrets, "arn:secret"} <= resources
    actions = {
        action
        for statement in statements
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    }
    assert not [action for action in actions if action.startswith(("s3:", "iam:")) or action.endswith("*")]
