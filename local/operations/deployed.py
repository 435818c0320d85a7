"""The settings of a deployed stack for commands, read from its parameters and outputs in CloudFormation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.services import ServiceFailed

CERTIFICATES = Path(__file__).resolve().parents[2] / "layers" / "core" / "database-ca.pem"
"""Of PostgreSQL servers, as docs/deploy.md has them put there."""
PARAMETERS = {
    "AUDIT_KEPT_DAYS": "AuditKeptDays",
    "DATABASE_ADDRESS": "DatabaseAddress",
    "DATABASE_SECRET_ARN": "DatabaseSecretArn",
    "DEFAULT_MAX_BYTES": "DefaultMaxBytes",
    "DEFAULT_MAX_FILE_BYTES": "DefaultMaxFileBytes",
    "DEFAULT_MAX_IMAGES": "DefaultMaxImages",
    "DEFAULT_REQUESTS_PER_MINUTE": "DefaultRequestsPerMinute",
    "EGRESS_ALLOWED_NETWORKS": "EgressAllowedNetworks",
    "EGRESS_HTTP": "EgressHttp",
    "IDENTITY_URL": "IdentityUrl",
    "INFERENCE_ENDPOINT_NAME": "InferenceEndpointName",
    "INFERENCE_URL": "InferenceUrl",
    "KAFKA_BROKERS": "KafkaBrokers",
    "KAFKA_SECURITY": "KafkaSecurity",
    "KAFKA_TOPIC": "WhatsAppTopic",
    "NAME_PREFIX": "NamePrefix",
    "QDRANT_URL": "QdrantUrl",
    "SWEEP_EVERY_SECONDS": "SweepEverySeconds",
    "SWEEP_GRACE_SECONDS": "SweepGraceSeconds",
    "THUMBNAILS_KEPT_DAYS": "ThumbnailsKeptDays",
}
"""Parameters of the stack by variable."""
OUTPUTS = {
    "DATABASE_ROLE_SECRET_ARNS": "DatabaseRoleSecretArns",
    "INSTALLATION_ID": "InstallationId",
    "OBJECT_QUEUE_ARN": "ObjectQueueArn",
    "QDRANT_API_KEY_SECRET_ARN": "QdrantApiKeySecretArn",
    "TENANT_BUCKET_PREFIX": "TenantBucketPrefix",
    "TENANT_BUCKET_SUFFIX": "TenantBucketSuffix",
    "TENANT_DATABASE_KEY_SECRET_ARN": "TenantDatabaseKeySecretArn",
    "TENANT_STORAGE_ROLE_ARN": "TenantStorageRoleArn",
    "WEBHOOK_KEY_SECRET_ARN": "WebhookKeySecretArn",
}
"""Outputs of the stack by variable."""


def environment_of_stack(name: str, cloudformation: Any, own: Mapping[str, str]) -> dict[str, str]:
    """The variables that commands need for a deployed stack.

    Parameters
    ----------
    cloudformation : a client, in the stack's Region.
    own : the user's variables. Only ``PGSSLROOTCERT`` counts: any other could belong to another installation.

    Raises
    ------
    ServiceFailed
        There is no such stack, or what it tells is incomplete.
    """
    stack = _described(name, cloudformation)
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    missing = sorted({*OUTPUTS.values()} - outputs.keys() | {*PARAMETERS.values()} - parameters.keys())
    if missing:
        raise ServiceFailed(
            f"the stack {name} ({stack['StackStatus']}) does not tell {', '.join(missing)}: it failed, is of an older "
            "version, or is not DeepLens. Deploy this version, then run the command again."
        )
    found = {variable: parameters[key] for variable, key in PARAMETERS.items()}
    found |= {variable: outputs[key] for variable, key in OUTPUTS.items()}
    found |= {"DEEPLENS_ENVIRONMENT": "production", "PGSSLMODE": "verify-full", "AWS_REGION": _region(outputs)}
    return found | {"PGSSLROOTCERT": own.get("PGSSLROOTCERT") or str(CERTIFICATES)}


def _described(name: str, cloudformation: Any) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    try:
        stack: Mapping[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        code, region = error.response["Error"]["Code"], cloudformation.meta.region_name
        if code == "ValidationError":
            raise ServiceFailed(f"there is no stack {name} in {region}. Set AWS_REGION, or check the name.") from error
        if code.startswith("AccessDenied"):
            raise ServiceFailed(
                f"these credentials may not read the stack {name}. Attach its OperatorPolicy to your role."
            ) from error
        raise
    return stack


def _region(outputs: Mapping[str, str]) -> str:
    """``INSTALLATION_ID`` is account, Region and stack."""
    return outputs["InstallationId"].split("/")[1]
