"""What each function may do, as one table that template.yaml, the stack on this machine and docs/security.md follow.

The topics of a function are not in the table: ``events/topics.py`` says who writes and reads each.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from deeplens.events.topics import PROCESSING_DEADLETTER, PROCESSING_FAILED, RETRIES, TOPICS, WHATSAPP_READY_MESSAGES

from local.runner.intrinsics import PSEUDO, Resolver

type Uses = Literal[
    "tenant key",
    "webhook key",
    "whatsapp secret",
    "index key",
    "administrator",
    "storage",
    "store secrets",
    "server secrets",
    "new server secrets",
    "signing keys",
    "provider secrets",
    "sign-in at providers",
    "inference",
    "retry queue",
    "object queue",
    "alerts",
    "mail",
    "probe key",
    "undeliverable bucket",
]


class Permission(NamedTuple):
    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a function may do beside its topics.

    Attributes
    ----------
    database : its role in the platform database; None opens no database.
    uses : secrets and services, the keys of ``PERMISSIONS``.
    why : the reason for what is unusual.
    replays : it sends records to the topics that they failed on, which is every topic that is tried again.
    """

    database: str | None
    uses: frozenset[Uses]
    why: str = ""
    replays: bool = False


def grant(database: str | None, *uses: Uses, why: str = "", replays: bool = False) -> Grant:
    return Grant(f"deeplens_{database}" if database else None, frozenset(uses), why, replays)


GRANTS: Mapping[str, Grant] = {
    "search_api": grant("search", "tenant key", "index key", "storage", "inference", "object queue"),
    "admin_api": grant(
        *("operations", "administrator", "tenant key", "webhook key", "index key", "storage", "store secrets"),
        *("server secrets", "new server secrets", "provider secrets", "inference"),
        why="creates the database and the role of a tenant within the request",
        replays=True,
    ),
    "identity_api": grant("identity", "signing keys", "sign-in at providers"),
    "whatsapp_webhook": grant(None, "whatsapp secret"),
    "on_schedule": grant("operations", "tenant key", "storage", "object queue", "alerts", "mail"),
    "on_administration_schedule": grant(
        *("operations", "administrator", "tenant key", "index key", "storage", "store secrets", "server secrets"),
        *("provider secrets", "signing keys"),
        why="finishes creations of tenants that stopped, and drops the databases of deleted tenants",
    ),
    "on_probe_schedule": grant(None, "probe key", why="it is a client of the public API"),
    "on_image_uploaded": grant("decoders", "tenant key", "storage"),
    "on_object_created": grant("pipeline", "tenant key", "storage"),
    "on_video_uploaded": grant("decoders", "tenant key", "storage"),
    "on_extraction_requested": grant("pipeline", "tenant key", "storage", "inference"),
    "on_indexing_requested": grant("pipeline", "tenant key", "index key"),
    "on_processing_completed": grant("pipeline", "tenant key"),
    "on_image_indexed": grant("pipeline", "tenant key", "index key"),
    "on_duplicates_found": grant("pipeline", "tenant key"),
    "on_processing_failed": grant("pipeline", "tenant key", "retry queue"),
    "on_retry_due": grant(None, "retry queue", replays=True),
    "on_dead_letter": grant("pipeline", "undeliverable bucket"),
    "on_image_maintenance": grant("pipeline", "tenant key", "index key", "storage"),
    "on_tenant_usage": grant("pipeline"),
    "on_tenant_notification": grant("pipeline", "webhook key"),
    "on_whatsapp_message": grant("pipeline", "tenant key", "index key", "storage", "inference", "whatsapp secret"),
}

CLUSTER = f"arn:aws:kafka:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:cluster/deeplens/1"
READ_SECRET = "secretsmanager:GetSecretValue"  # noqa: S105 - an action
SECRET = f"arn:aws:secretsmanager:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:secret:deeplens"
MAIL_IDENTITY = f"arn:aws:ses:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:identity/example.com"
ROLE_SECRETS = {
    f"deeplens_{name}": f"{name.capitalize()}DatabaseSecret"
    for name in ("decoders", "pipeline", "search", "identity", "operations")
}
"""Secrets of the template with the password of each database role."""
PERMISSIONS: Mapping[Uses, tuple[tuple[str, str], ...]] = {
    "tenant key": ((READ_SECRET, "local:TenantDatabaseKeySecret"),),
    "webhook key": ((READ_SECRET, "local:WebhookKeySecret"),),
    "whatsapp secret": ((READ_SECRET, "local:WhatsAppSecret"),),
    "index key": ((READ_SECRET, "local:QdrantApiKeySecret"),),
    "administrator": ((READ_SECRET, "given:DatabaseSecretArn"),),
    "storage": (
        ("sts:AssumeRole", "local:TenantStorageRole.Arn"),
        # Roles of tenants' own accounts, never another one of this account.
        ("sts:AssumeRole", f"not arn:aws:iam::{PSEUDO['AWS::AccountId']}:role/*"),
        (READ_SECRET, f"{SECRET}/stores/*"),
    ),
    "store secrets": (
        ("secretsmanager:CreateSecret", f"{SECRET}/stores/*"),
        ("secretsmanager:DeleteSecret", f"{SECRET}/stores/*"),
    ),
    # Of PostgreSQL servers that belong to tenants.
    "server secrets": (
        (READ_SECRET, f"{SECRET}/databases/*"),
        ("secretsmanager:DeleteSecret", f"{SECRET}/databases/*"),
    ),
    "new server secrets": (("secretsmanager:CreateSecret", f"{SECRET}/databases/*"),),
    "signing keys": tuple(
        (f"secretsmanager:{action}", f"{SECRET}/identity/signing-keys/*")
        for action in ("CreateSecret", "DeleteSecret", "GetSecretValue")
    ),
    "provider secrets": tuple(
        (f"secretsmanager:{action}", f"{SECRET}/identity/providers/*") for action in ("CreateSecret", "DeleteSecret")
    ),
    "sign-in at providers": ((READ_SECRET, f"{SECRET}/identity/providers/*"),),
    "inference": (
        (
            "sagemaker:InvokeEndpoint",
            f"arn:aws:sagemaker:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:endpoint/deeplens",
        ),
    ),
    "retry queue": (("sqs:SendMessage", "local:RetryQueue.Arn"),),
    "object queue": (("sqs:SendMessage", "local:ObjectQueue.Arn"),),
    "alerts": (("sns:Publish", "local:AlertsTopic"),),
    "mail": (("ses:SendEmail", MAIL_IDENTITY),),
    "probe key": ((READ_SECRET, "local:ProbeKeySecret"),),
    "undeliverable bucket": tuple(
        (action, f"local:UndeliverableBucket.Arn{rest}")
        for action in ("s3:PutObject", "s3:ListBucket")
        for rest in ("", "/*")
    ),
}
SECRET_VARIABLES: Mapping[Uses, tuple[str, ...]] = {
    "tenant key": ("TENANT_DATABASE_KEY", "TENANT_DATABASE_KEY_SECRET_ARN"),
    "webhook key": ("WEBHOOK_KEY", "WEBHOOK_KEY_SECRET_ARN"),
    "index key": ("QDRANT_API_KEY", "QDRANT_API_KEY_SECRET_ARN"),
    "whatsapp secret": (
        *("WHATSAPP_SECRET_ARN", "WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET"),
        "WHATSAPP_VERIFY_TOKEN",
    ),
    "administrator": ("DATABASE_ADMIN_URL", "DATABASE_ADMIN_SECRET_ARN"),
    "probe key": ("PROBE_KEY", "PROBE_KEY_SECRET_ARN"),
    # Signs URLs of directory stores.
    "storage": ("URL_SIGNING_KEY",),
}
"""Variables that hold a secret or name one."""
DATABASE_VARIABLES = ("DATABASE_URL", "DATABASE_SECRET_ARN")
MIGRATION_VARIABLES = ("DATABASE_ROLE_URLS", "DATABASE_ROLE_SECRET_ARNS")
ALL_SECRET_VARIABLES = {*DATABASE_VARIABLES, *MIGRATION_VARIABLES, *(v for vs in SECRET_VARIABLES.values() for v in vs)}


def written_by(function: str) -> list[str]:
    """The topics that a function may write: those it produces, those it replays, and dead letters of its trigger."""
    consumes_kafka = any(function in topic.consumers for topic in TOPICS if topic != PROCESSING_DEADLETTER)
    return [
        topic.name
        for topic in TOPICS
        if function in topic.producers
        or (GRANTS[function].replays and (topic.name in RETRIES or topic == PROCESSING_FAILED))
        or (consumes_kafka and topic == PROCESSING_DEADLETTER)
    ]


def read_by(function: str) -> list[str]:
    return [topic.name for topic in TOPICS if function in topic.consumers]


def group_of(function: str) -> str:
    return (
        "whatsapp-processing-group" if function == "on_whatsapp_message" else f"deeplens-{function.replace('_', '-')}"
    )


def secret_variables_of(function: str) -> set[str]:
    """The variables with secrets that a function may have."""
    granted = GRANTS[function]
    own = {variable for use in granted.uses for variable in SECRET_VARIABLES.get(use, ())}
    return own | set(DATABASE_VARIABLES if granted.database else ())


def permissions_of(function: str) -> set[Permission]:
    """What the table grants a function in AWS, its topics included."""
    granted, written, read = GRANTS[function], written_by(function), read_by(function)
    topics, groups = (CLUSTER.replace(":cluster/", f":{kind}/") for kind in ("topic", "group"))
    found = {Permission(*permission) for use in granted.uses for permission in PERMISSIONS[use]}
    if granted.database:
        found.add(Permission(READ_SECRET, f"local:{ROLE_SECRETS[granted.database]}"))
    if written or read:
        found |= {Permission(f"kafka-cluster:{action}", CLUSTER) for action in ("Connect", "WriteDataIdempotently")}
    for action, names in (("DescribeTopic", {*written, *read}), ("WriteData", written), ("ReadData", read)):
        found |= {Permission(f"kafka-cluster:{action}", f"{topics}/{name}") for name in names}
    if read:
        group = f"{groups}/{group_of(function)}"
        found |= {Permission(f"kafka-cluster:{action}", group) for action in ("DescribeGroup", "AlterGroup")}
        found.add(Permission("kafka-cluster:DescribeClusterDynamicConfiguration", CLUSTER))
    return found


def differences(document: Mapping[str, Any]) -> list[str]:
    """What a template grants and the table does not, or the other way round, one line each; none if they agree."""
    resolver = Resolver(
        document,
        {
            "KafkaClusterArn": CLUSTER,
            "DatabaseSecretArn": "given:DatabaseSecretArn",
            "MailIdentity": "example.com",
            "WhatsAppTopic": WHATSAPP_READY_MESSAGES.name,
        },
        {},
    )
    resources: Mapping[str, Any] = document["Resources"]
    functions = {
        str(resource["Properties"]["CodeUri"]).strip("/").rpartition("/")[2]: resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    common = document["Globals"]["Function"]
    found = [f"{name} is in only one of table and template" for name in functions.keys() ^ GRANTS.keys()]
    found += [f"{name} is a grant that the check does not read" for name in _unread(resources)]
    for name in sorted(functions.keys() & GRANTS.keys()):
        given = set(_permissions(resolver, resources, {**common, **functions[name]}))
        found += _lines(name, "may", given, permissions_of(name))
        variables = {**_variables(common), **_variables(functions[name])}
        present = {variable for variable in variables if variable in ALL_SECRET_VARIABLES}
        found += _lines(name, "has the variable", present, secret_variables_of(name) & TEMPLATE_VARIABLES)
        found += [f"{name} has a secret in {other}" for other in _secrets_by_other_names(document, variables)]
        database = resolver.resolve(variables.get("DATABASE_SECRET_ARN"))
        if database is not None and database != f"local:{ROLE_SECRETS.get(GRANTS[name].database or '')}":
            found.append(f"{name} has the database secret {database}, which is not that of its role")
    return found


TEMPLATE_VARIABLES = ALL_SECRET_VARIABLES - {
    # Only for one machine, or in WhatsApp's secret.
    *("DATABASE_ADMIN_URL", "PROBE_KEY", "URL_SIGNING_KEY"),
    *("WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"),
}


def _lines(name: str, verb: str, given: Iterable[Any], wanted: Iterable[Any]) -> list[str]:
    given, wanted = set(given), set(wanted)
    return [
        *(f"{name} {verb} {_text(item)}, but the table does not have it" for item in sorted(given - wanted)),
        *(f"the table says that {name} {verb} {_text(item)}, but it does not" for item in sorted(wanted - given)),
    ]


def _text(item: str | Permission) -> str:
    return item if isinstance(item, str) else f"{item.action} on {item.resource}"


def _variables(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    variables: Mapping[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return variables


def _secrets_by_other_names(document: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[str]:
    """Variables outside the table whose value is a secret parameter or is resolved from a secret."""
    secret = [str({"Ref": name}) for name, spec in document["Parameters"].items() if spec.get("NoEcho")]
    for name in variables.keys() - ALL_SECRET_VARIABLES:
        if any(part in str(variables[name]) for part in ["{{resolve:", *secret]):
            yield name


def _unread(resources: Mapping[str, Any]) -> Iterator[str]:
    """Resources that grant something on a way that ``_permissions`` does not follow."""
    for name, resource in resources.items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        attached = {"Roles", "Users", "Groups"} & properties.keys()
        if kind == "AWS::IAM::ManagedPolicy" and not attached:
            continue
        if (kind, name) in {
            ("AWS::IAM::Role", "TenantStorageRole"),  # test_flow.py has its statements
            ("AWS::IAM::ManagedPolicy", "TracesPolicy"),  # and its roles
            ("AWS::SQS::QueuePolicy", "BucketsMayNotify"),
        }:
            continue
        grants = kind.startswith("AWS::IAM::") or kind.endswith(("Policy", "Connector", "Permission"))
        if grants or (kind == "AWS::Serverless::Function" and {"Role", "Connectors"} & properties.keys()):
            yield name


def _permissions(
    resolver: Resolver, resources: Mapping[str, Any], properties: Mapping[str, Any]
) -> Iterator[Permission]:
    """Every permission of a function's policies; one that is no statement here stands for itself."""
    for policy in properties.get("Policies", []):
        named = resources.get(policy.get("Ref", ""), {}) if isinstance(policy, dict) else {}
        document = named["Properties"]["PolicyDocument"] if named else policy
        if isinstance(document, dict) and "Statement" in document:
            for statement in document["Statement"]:
                yield from _of_statement(resolver.resolve(statement))
        else:
            yield Permission("policy", str(policy))


def _of_statement(statement: Mapping[str, Any]) -> Iterator[Permission]:
    unusual = statement.keys() - {"Effect", "Action", "Resource", "NotResource", "Sid"}
    prefix = "" if statement["Effect"] == "Allow" and not unusual else f"{statement['Effect']} {sorted(unusual)} "
    negation = "not " if "NotResource" in statement else ""
    for action in _list(statement.get("Action", "every action")):
        for resource in _list(statement.get("NotResource", statement.get("Resource", "every resource"))):
            yield Permission(prefix + action, negation + resource)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def table() -> str:
    """The table of docs/security.md."""
    head = "| function | database role | secrets and services | writes | reads |\n|---|---|---|---|---|"
    rows = [
        f"| `{name}` | {_code([granted.database] if granted.database else [])} | {_uses(granted)} "
        f"| {_code(written_by(name))} | {_code(read_by(name))} |"
        for name, granted in GRANTS.items()
    ]
    return "\n".join([head, *(" ".join(row.split()) for row in rows)])


def _uses(granted: Grant) -> str:
    named = [f"{use} ({granted.why})" if use == "administrator" else use for use in sorted(granted.uses)]
    return ", ".join(named)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
