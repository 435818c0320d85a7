"""topics.py, template.yaml, functions/README.md and the handlers agree."""

import ast
import copy
import importlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from deeplens.bootstrap.container import Container
from deeplens.bootstrap.maintenance import MaintenanceRegistry
from deeplens.common.resolve import parameters_of
from deeplens.events import topics
from deeplens.events.topics import TOPICS, Topic
from deeplens.storage.scope import ON_BUCKET, ON_OBJECTS, SESSION_SECONDS
from deeplens.telemetry.instruments import INSTRUMENTS

from local.checks.grants import GRANTS
from local.checks.grants import table as grants_table
from local.checks.template import problems
from local.runner.template import FunctionSpec, KafkaEvent, SqsEvent, TagLoader, load

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = load(ROOT / "template.yaml", {}, {})
DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TagLoader)
RESOURCES: dict[str, dict[str, Any]] = DOCUMENT["Resources"]
KAFKA = [(spec, event) for spec in TEMPLATE.functions for event in spec.events if isinstance(event, KafkaEvent)]
QUEUES = [(spec, event) for spec in TEMPLATE.functions for event in spec.events if isinstance(event, SqsEvent)]
ROW = re.compile(r"^\| (.+?) \| `(\w+)` \| ?(.*?) ?\| ?(.*?) ?\|$", re.M)
HTTP_PARTS = {
    "search_api": {"images", "stores", "embedder", "index", "object_queue"},
    "admin_api": {
        "images",
        "stores",
        "embedder",
        "provisioning",
        "new_tenants",
        "store_secrets",
        "webhook_signer",
        "provider_secrets",
    },
    "identity_api": {"signing_keys", "provider_client"},
    "whatsapp_webhook": {"whatsapp_secrets"},
}
TENANT_PORTS = {"images", "event_log", "videos", "duplicates", "vector_states", "store_objects"}
"""Those whose adapters open tenants' databases."""
QUOTED = re.compile(r"`([^`]+)`")
README = {
    function: (set(QUOTED.findall(woken_by)), QUOTED.findall(stages), set(QUOTED.findall(emits)))
    for woken_by, function, stages, emits in ROW.findall((ROOT / "functions" / "README.md").read_text())
}
STAGE = re.compile(
    r"^from deeplens\.((?!bootstrap|events|kafka)[\w.]+) import ([A-Z]\w+(?:, [A-Z]\w+)*)(?:, [a-z]\w+)*$", re.M
)
STAGES = {
    spec.name: {
        (module, stage): getattr(importlib.import_module(f"deeplens.{module}"), stage)
        for module, names in STAGE.findall((spec.code / "handler.py").read_text())
        for stage in names.split(", ")
    }
    for spec in TEMPLATE.functions
}


def named(value: object) -> str:
    return str(getattr(value, "name", ""))


class RecordingContainer(MaintenanceRegistry):
    """A container that builds stages from ports that do nothing, and records their names."""

    providers = Container.providers

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return MagicMock()


def parts_of(function: str) -> set[str]:
    """Return the attributes of the container that the function's stages, use cases and jobs depend on."""
    recording = RecordingContainer()
    for stage in STAGES[function].values():
        recording.build(stage)
    return recording.used


@pytest.mark.parametrize("topic", TOPICS, ids=named)
def test_what_is_produced_is_consumed(topic: Topic) -> None:
    assert bool(topic.producers) == bool(topic.consumers)


@pytest.mark.parametrize("topic", TOPICS, ids=named)
def test_the_template_invokes_exactly_the_registered_consumers(topic: Topic) -> None:
    assert sorted(spec.name for spec, event in KAFKA if event.topic == topic.name) == sorted(topic.consumers)


@pytest.mark.parametrize(("spec", "event"), KAFKA, ids=named)
def test_a_function_knows_its_consumer_group(spec: FunctionSpec, event: KafkaEvent) -> None:
    assert spec.environment["KAFKA_CONSUMER_GROUP"] == event.group_id


def test_every_function_may_send_spans_and_nothing_else_to_cloudwatch() -> None:
    policy = RESOURCES["TracesPolicy"]["Properties"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement == {"Effect": "Allow", "Action": "xray:PutTraceSegments", "Resource": "*"}
    assert [role["Ref"] for role in policy["Roles"]] == [f"{spec.logical_id}Role" for spec in TEMPLATE.functions]


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("", ""),
        ("https://collector:4318", "https://collector:4318"),
        ("cloudwatch", "https://xray.eu-central-1.amazonaws.com"),
        ("extension", "http://localhost:4318"),
    ],
)
def test_a_parameter_chooses_where_spans_go(given: str, endpoint: str) -> None:
    values = {"AWS::Region": "eu-central-1", "AWS::URLSuffix": "amazonaws.com"}
    template = load(ROOT / "template.yaml", {"OtlpEndpoint": given}, values)
    assert {spec.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] for spec in template.functions} == {endpoint}


def test_the_template_names_no_unknown_topic() -> None:
    assert {event.topic for _, event in KAFKA} <= {topic.name for topic in TOPICS}


def test_every_function_folder_is_deployed() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}
    assert folders == {spec.name for spec in TEMPLATE.functions}


@pytest.mark.parametrize(("spec", "event"), KAFKA, ids=named)
def test_a_function_runs_the_stage_of_its_topic(spec: FunctionSpec, event: KafkaEvent) -> None:
    (stage,) = STAGES[spec.name].values()
    assert topics.TOPIC_OF[stage.consumes].name == event.topic


def test_the_registry_knows_who_reports_failures() -> None:
    ends = {*topics.PROCESSING_FAILED.consumers, *topics.PROCESSING_DEADLETTER.consumers}
    assert set(topics.PROCESSING_FAILED.producers) == {spec.name for spec, _ in [*KAFKA, *QUEUES]} - ends


def test_every_consumed_topic_has_a_retry_policy() -> None:
    last = {topics.PROCESSING_FAILED, topics.PROCESSING_DEADLETTER}
    assert set(topics.RETRIES) == {topic.name for topic in TOPICS if topic.consumers and topic not in last}


def test_the_registry_knows_who_releases_waiting_images() -> None:
    releasing = {function for function in STAGES if "pending" in parts_of(function)}
    assert set(topics.IMAGES_UPLOADED.producers) == {"search_api", "on_whatsapp_message"} | releasing


@pytest.mark.parametrize("topic", TOPICS, ids=named)
def test_the_flow_table_says_who_produces_and_consumes(topic: Topic) -> None:
    assert {name for name, (woken_by, _, _) in README.items() if topic.name in woken_by} == set(topic.consumers)
    assert {name for name, (_, _, emits) in README.items() if topic.name in emits} == set(topic.producers)


def test_the_flow_table_says_who_reads_which_queue() -> None:
    read = {(spec.name, event.queue.removeprefix("local:").removesuffix(".Arn")) for spec, event in QUEUES}
    assert {queue for _, queue in read} == set(TEMPLATE.queues)
    assert {
        (name, queue) for name, (woken_by, _, _) in README.items() for queue in woken_by & {*TEMPLATE.queues}
    } == read


def test_the_flow_table_lists_every_function_and_its_stage() -> None:
    assert {name: stages for name, (_, stages, _) in README.items()} == {
        name: list(dict.fromkeys(module for module, _ in found)) for name, found in STAGES.items()
    }


def test_every_topic_has_a_producer_and_a_consumer() -> None:
    assert [topic.name for topic in TOPICS if not (topic.producers and topic.consumers)] == []


@pytest.mark.parametrize(("spec", "event"), KAFKA, ids=named)
def test_every_kafka_trigger_keeps_what_it_cannot_process(spec: FunctionSpec, event: KafkaEvent) -> None:
    assert event.on_failure != f"kafka://{event.topic}"
    if event.topic != topics.PROCESSING_DEADLETTER.name:
        assert event.on_failure == f"kafka://{topics.PROCESSING_DEADLETTER.name}"
    else:
        assert RESOURCES["UndeliverableBucket"]["Type"] == "AWS::S3::Bucket"
        assert event.on_failure == "local:UndeliverableBucket.Arn"


def test_kafka_triggers_differ_only_in_topic_group_and_batch() -> None:
    own = {"Topics", "ConsumerGroupId", "BatchSize", "DestinationConfig"}
    triggers = [
        {name: value for name, value in event["Properties"].items() if name not in own}
        for resource in RESOURCES.values()
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if event["Type"] == "MSK"
    ]
    assert triggers == [
        {
            "Stream": {"Ref": "KafkaClusterArn"},
            "StartingPosition": "TRIM_HORIZON",
            "MaximumBatchingWindowInSeconds": 0,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 10000,
            "MaximumRecordAgeInSeconds": 604800,
            "ProvisionedPollerConfig": {
                "MinimumPollers": 1,
                "MaximumPollers": {"Ref": "MaximumPollers"},
                "PollerGroupName": {"Fn::Sub": "${NamePrefix}deeplens"},
            },
            "MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]},
        }
    ] * len(KAFKA)


def test_every_kafka_trigger_has_a_consumer_group_of_its_own() -> None:
    own = {spec.name: f"deeplens-{spec.name.replace('_', '-')}" for spec, _ in KAFKA}
    # The product's documents give this one a name, which an installation may change.
    own["on_whatsapp_message"] = "whatsapp-processing-group"
    assert {event.group_id for _, event in KAFKA} == {*own.values()}
    assert max(Counter(event.group_id for _, event in KAFKA).values()) == 1


def test_every_queue_has_a_redrive_queue_that_keeps_its_messages_as_dead_letters() -> None:
    targets = {
        queue["RedrivePolicy"]["deadLetterTargetArn"] for queue in TEMPLATE.queues.values() if "RedrivePolicy" in queue
    }
    assert targets == {event.queue for spec, event in QUEUES if spec.name in topics.PROCESSING_DEADLETTER.consumers}
    last = {event.queue.removeprefix("local:").removesuffix(".Arn") for _, event in QUEUES if event.queue in targets}
    assert {name for name, queue in TEMPLATE.queues.items() if "RedrivePolicy" not in queue} == last


@pytest.mark.parametrize(("spec", "event"), QUEUES, ids=named)
def test_the_visibility_timeout_exceeds_the_functions_timeout(spec: FunctionSpec, event: SqsEvent) -> None:
    queue = TEMPLATE.queues[event.queue.removeprefix("local:").removesuffix(".Arn")]
    assert event.partial
    # AWS asks for six times the timeout: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    assert int(queue["VisibilityTimeout"]) >= 6 * spec.timeout_seconds


def test_a_message_survives_half_an_hour_without_a_shared_dependency() -> None:
    for queue in TEMPLATE.queues.values():
        received = queue.get("RedrivePolicy", {}).get("maxReceiveCount", 1000)
        assert int(queue["VisibilityTimeout"]) * int(received) > 4 * 3600
        assert int(queue["MessageRetentionPeriod"]) == 14 * 24 * 3600


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=named)
def test_the_table_grants_a_function_only_what_it_uses(spec: FunctionSpec) -> None:
    used = parts_of(spec.name) if STAGES[spec.name] else HTTP_PARTS[spec.name]
    types = {parameter.type_name for stage in STAGES[spec.name].values() for parameter in parameters_of(stage)}
    users = {
        "tenant key": {*TENANT_PORTS, "provisioning"},
        "webhook key": {"webhook_signer"},
        "whatsapp secret": {"whatsapp", "whatsapp_secrets"},
        "index key": {"index", "provisioning", "chat_collection"},
        "administrator": {"provisioning"},
        "storage": {"provisioning", "stores", "chat_collection", "maintenance_jobs"},
        "store secrets": {"secret_store", "store_secrets"},
        "server secrets": {"provisioning"},
        "new server secrets": {"new_tenants"},
        "provider secrets": {"secret_store", "provider_secrets"},
        "sign-in at providers": {"provider_client"},
        "signing keys": {"signing_keys"},
        "inference": {"embedder", "chat_collection"},
        "retry queue": {"retries"},
        "object queue": {"object_queue"},
        "alerts": {"alert_channel"},
        "mail": {"mailer"},
        "probe key": {"probed_api"},
        "undeliverable bucket": {"undeliverable bucket"},
    }
    used |= {"provisioning"} if "Provisioning" in types else set()
    used |= {"mailer"} if "Mailer" in types else set()
    used |= {"undeliverable bucket"} if spec.name in topics.PROCESSING_DEADLETTER.consumers else set()
    assert GRANTS[spec.name].uses == {use for use, ports in users.items() if used & ports}


def test_the_template_grants_what_the_table_says() -> None:
    assert problems(DOCUMENT) == []


def test_the_table_is_in_the_documents() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    assert grants_table() in text, f"replace the table of docs/security.md:\n{grants_table()}"


def altered(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return problems(document)


def statements(document: dict[str, Any], function: str) -> list[dict[str, Any]]:
    policies = document["Resources"][function]["Properties"]["Policies"]
    return next(policy["Statement"] for policy in policies if "Statement" in policy)


def variables(document: dict[str, Any], function: str) -> dict[str, Any]:
    given: dict[str, Any] = document["Resources"][function]["Properties"]["Environment"]["Variables"]
    return given


ALLOW = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
TOPIC = {"Fn::Sub": ["${T}/deeplens.tenant.usage", {"T": "arn:aws:kafka:us-east-1:000000000000:topic/deeplens/1"}]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda t: t["Resources"]["AlertsTopic"]["Properties"].pop("KmsMasterKeyId"),
            "AlertsTopic is encrypted with no key",
        ),
        (
            lambda t: t["Resources"]["AlertsTopic"]["Properties"].update(KmsMasterKeyId="alias/aws/sns"),
            "AlertsTopic is encrypted with no key",
        ),
        (
            lambda t: t["Resources"]["AlertsKey"]["Properties"]["KeyPolicy"]["Statement"].pop(),
            "AlertsTopic is encrypted with no key of the template that CloudWatch may use",
        ),
        (
            lambda t: statements(t, "WhatsAppWebhook").append(
                {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": {"Ref": "DatabaseSecretArn"}}
            ),
            "whatsapp_webhook may secretsmanager:GetSecretValue on given:DatabaseSecretArn, but the table",
        ),
        (
            lambda t: statements(t, "OnImageUploaded").append(
                {"Effect": "Allow", "Action": "kafka-cluster:WriteData", "Resource": TOPIC}
            ),
            "on_image_uploaded may kafka-cluster:WriteData on .*topic/deeplens/1/deeplens.tenant.usage, but the table",
        ),
        (lambda t: statements(t, "OnTenantUsage").pop(0), "the table says that on_tenant_usage may secretsmanager"),
        (
            lambda t: statements(t, "OnTenantUsage").pop(1),
            "the table says that on_tenant_usage may kafka-cluster:Write",
        ),
        (
            lambda t: t["Resources"]["BrokerPolicy"]["Properties"]["PolicyDocument"]["Statement"].append(ALLOW),
            r"on_retry_due may s3:\* on \*, but the table",
        ),
        (
            lambda t: t["Resources"]["OnRetryDue"]["Properties"]["Policies"].append("AmazonS3FullAccess"),
            "on_retry_due may policy on AmazonS3FullAccess",
        ),
        (
            lambda t: t["Resources"]["OnRetryDue"]["Properties"]["Policies"].append({"Ref": "InferencePolicy"}),
            "on_retry_due may sagemaker:InvokeEndpoint",
        ),
        (lambda t: t["Resources"]["OnRetryDue"]["Properties"].update(Role="arn:own"), "OnRetryDue is a grant that"),
        (
            lambda t: t["Resources"].update(More={"Type": "AWS::IAM::Policy", "Properties": {}}),
            "More is a grant that the check does not read",
        ),
        (
            lambda t: t["Globals"]["Function"]["Environment"]["Variables"].update(DATABASE_URL={"Ref": "DatabaseUrl"}),
            "whatsapp_webhook has the variable DATABASE_URL, but the table does not have it",
        ),
        (
            lambda t: variables(t, "OnDeadLetter").update(WEBHOOK_KEY_SECRET_ARN={"Ref": "WebhookKeySecret"}),
            "on_dead_letter has the variable WEBHOOK_KEY_SECRET_ARN",
        ),
        (
            lambda t: variables(t, "OnDeadLetter").update(DATABASE_SECRET_ARN={"Ref": "OperationsDatabaseSecret"}),
            "on_dead_letter has the database secret local:OperationsDatabaseSecret, which is not that of its role",
        ),
        (
            lambda t: variables(t, "OnDeadLetter").update(MORE={"Ref": "TenantDatabaseKey"}),
            "on_dead_letter has a secret in MORE",
        ),
        (
            lambda t: variables(t, "OnDeadLetter").update(MORE="{{resolve:secretsmanager:WebhookKey}}"),
            "on_dead_letter has a secret in MORE",
        ),
        (lambda t: t["Resources"].pop("OnDeadLetter"), "on_dead_letter is in only one of table and template"),
        (
            lambda t: t["Resources"]["HttpApi"]["Properties"].pop("DefaultRouteSettings"),
            "HttpApi has no ThrottlingRateLimit",
        ),
        (lambda t: t["Resources"]["HttpApi"]["Properties"].pop("AccessLogSettings"), "HttpApi has no access log"),
        (lambda t: t["Resources"].pop("Distribution"), "HttpApi is the origin of no distribution with a web ACL"),
        (
            lambda t: t["Resources"]["IdentityApi"]["Properties"].pop("ReservedConcurrentExecutions"),
            "IdentityApi has no concurrency of its own",
        ),
        (
            lambda t: t["Parameters"]["DefaultRequestsPerMinute"].update(Default=0),
            "DefaultRequestsPerMinute is 0, so that a tenant has no limit",
        ),
    ],
)
def test_a_template_that_grants_more_or_less_than_the_table_or_lifts_a_limit_is_refused(
    change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    assert any(re.search(problem, found) for found in altered(change)), altered(change)


def test_alarms_watch_stages_that_exist() -> None:
    dimensions = [
        dimension["Value"]
        for resource in RESOURCES.values()
        for dimension in resource["Properties"].get("Dimensions", [])
        if dimension["Name"] == "stage"
    ]
    assert len(dimensions) == 1
    assert set(dimensions) <= {stage.name for stages in STAGES.values() for stage in stages.values()}


def test_alarms_watch_metrics_that_are_written() -> None:
    written = {
        re.sub(r"\{\w+\}", value.capitalize(), instrument.cloudwatch): {"stack", *instrument.dimensions}
        for instrument in INSTRUMENTS.values()
        if instrument.cloudwatch
        for label in instrument.labels or [None]
        for value in (label.values.split("|") if label else [""])
    }
    alarms = [resource["Properties"] for resource in RESOURCES.values()]
    watched = [
        (alarm["MetricName"], {dimension["Name"] for dimension in alarm["Dimensions"]})
        for alarm in alarms
        if alarm.get("Namespace") == "DeepLens"
    ]
    assert watched
    assert [(name, dimensions) for name, dimensions in watched if written.get(name) != dimensions] == []


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=named)
def test_a_function_is_one_short_handler(spec: FunctionSpec) -> None:
    files = [path for path in spec.code.iterdir() if path.name != "__pycache__"]
    assert [path.name for path in files] == ["handler.py"]
    assert len(files[0].read_text().splitlines()) <= 40


@pytest.mark.parametrize("spec", TEMPLATE.functions, ids=named)
def test_a_handler_only_wires(spec: FunctionSpec) -> None:
    tree = ast.parse((spec.code / "handler.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.For | ast.While | ast.FunctionDef)]


def test_a_kafka_function_fits_lambdas_limits() -> None:
    for spec, _ in KAFKA:
        assert spec.timeout_seconds <= 14 * 60


def test_no_function_reaches_a_tenants_bucket_but_through_the_role() -> None:
    role = RESOURCES["TenantStorageRole"]["Properties"]
    (buckets,) = role["Policies"]
    allowed = {action for statement in buckets["PolicyDocument"]["Statement"] for action in statement["Action"]}
    assert allowed == {*ON_BUCKET, *ON_OBJECTS}
    assert role["MaxSessionDuration"] == SESSION_SECONDS
    # Buckets of the same names in other accounts are out of reach; who creates one is its owner.
    ours = {"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}
    unbound = [one["Action"] for one in buckets["PolicyDocument"]["Statement"] if one.get("Condition") != ours]
    assert unbound == [["s3:CreateBucket"]]
    storage = RESOURCES["StoragePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    own = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/*"
    assert storage[:2] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": {"Fn::GetAtt": ["TenantStorageRole", "Arn"]}},
        # Roles of tenants' own accounts, never another one of this account.
        {"Effect": "Allow", "Action": "sts:AssumeRole", "NotResource": {"Fn::Sub": own}},
    ]
    (secrets,) = storage[2:]
    assert secrets["Action"] == "secretsmanager:GetSecretValue"
    assert secrets["Resource"]["Fn::Sub"].endswith(":secret:${NamePrefix}deeplens/stores/*")
    # What nobody could deliver goes to a bucket of the platform, so OnDeadLetter may write to that.
    elsewhere = {name: str(resource) for name, resource in RESOURCES.items() if name != "TenantStorageRole"}
    assert {name for name, statement in elsewhere.items() if "'s3:" in statement} == {"OnDeadLetter"}
    # Buckets speak to the queue, and to them nobody. S3 itself writes what they say, so none can speak of another.
    senders = [str(part) for part in RESOURCES["BucketsMayNotify"]["Properties"]["PolicyDocument"]["Statement"]]
    assert [part.count("amazonaws.com") for part in senders] == [part.count("s3.amazonaws.com") for part in senders]
    assert [name for name, statement in elsewhere.items() if "TenantBucketPrefix" in statement] == ["BucketsMayNotify"]
