"""Findings of a probe of a tenant's store: what is missing, what to do, and a snippet to paste."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deeplens.stores.model import StorePlatform, TenantStore

CheckName = Literal["list", "read", "write", "notification"]
Outcome = Literal[
    "passed",
    "skipped",
    "denied",
    "missing",
    "credentials",
    "region",
    "role",
    "external-id",
    "endpoint",
    "unreachable",
    "outside",
    "archived",
    "not-configured",
    "waiting",
]

OUTCOMES: dict[str, Outcome] = {
    "NoSuchBucket": "missing",
    "ContainerNotFound": "missing",
    "404": "missing",
    "InvalidAccessKeyId": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "InvalidToken": "credentials",
    "AuthenticationFailed": "credentials",
    "InvalidAuthenticationInfo": "credentials",
    "NoAuthenticationInformation": "credentials",
    "NoCredentials": "credentials",
    "PermanentRedirect": "region",
    "AuthorizationHeaderMalformed": "region",
    "301": "region",
    "AssumeRole": "role",
    "ExternalId": "external-id",
    "Outside": "outside",
    "InvalidObjectState": "archived",
    "BlobArchived": "archived",
}
"""By the store's own code; every other refusal is ``denied``."""
ACTIONS: dict[CheckName, tuple[str, ...]] = {
    "list": ("s3:ListBucket",),
    "read": ("s3:GetObject",),
    "write": ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
    "notification": ("s3:GetBucketNotification",),
}
ON_BUCKET = {"list", "notification"}
AZURE: dict[CheckName, tuple[str, str]] = {
    "list": ("l", "Storage Blob Data Reader"),
    "read": ("r", "Storage Blob Data Reader"),
    "write": ("cwd", "Storage Blob Data Contributor"),
    "notification": ("", ""),
}
EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do; ``missing`` names the permission or setting, and ``snippet`` is to be reviewed and pasted."""

    missing: str
    advice: str
    snippet: str | None = None


ADVICE: dict[Outcome, Advice] = {
    "missing": Advice(
        "{word} {store.container}",
        "There is no such {word}. Check its name, endpoint and region, or create it.",
    ),
    "credentials": Advice(
        "valid {keys}", "The store does not know these credentials. POST …/stores/{store.id}/rotate."
    ),
    "region": Advice(
        "the bucket's region", "The bucket is not in the region given ({region}); register it with its own."
    ),
    "endpoint": Advice(
        "a public https endpoint", "{store.endpoint} leads, or may lead, to an address that DeepLens may not reach."
    ),
    "unreachable": Advice("an answer", "{address} does not answer; probe again when it does."),
    "outside": Advice(
        "a directory without symbolic links",
        "{store.container}, or what is in it, is a symbolic link, and DeepLens follows none. Use a bind mount instead.",
    ),
    "archived": Advice("readable objects", "An object is archived: restore it, or register a prefix that holds none."),
}
"""What is the same for all stores; ``advise`` fills in the words."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of a probe."""

    name: CheckName
    outcome: Outcome


def outcome_of(reason: str) -> Outcome:
    """Return the outcome for the code of a refusal."""
    return OUTCOMES.get(reason, "denied")


def is_ready(store: TenantStore, checks: list[Check]) -> bool:
    """Whether all works that the store's mode needs; without notifications there are still scans."""
    needed = {"list", "read"} | ({"write"} if store.mode == "managed" else set())
    return needed <= {check.name for check in checks if check.outcome == "passed"}


def advise(store: TenantStore, check: Check, platform: StorePlatform) -> Advice | None:
    """What to do about a check; None where nothing is to be done."""
    match check.outcome:
        case "passed" | "skipped":
            return None
        case "denied":
            return _denied(store, check)
        case "role" | "external-id":
            return _role(store, platform, answers_others=check.outcome == "external-id")
        case "not-configured" | "waiting":
            return _notification(store, platform)
    words = {
        "store": store,
        "word": {"azure": "container", "nfs": "directory"}.get(store.kind, "bucket"),
        "keys": "accountKey or sas" if store.kind == "azure" else "accessKeyId and secretAccessKey",
        "region": store.region or "the platform's own",
        "address": store.endpoint or "The store",
    }
    template = ADVICE[check.outcome]
    return Advice(template.missing.format(**words), template.advice.format(**words))


def described(store: TenantStore, checks: list[Check], platform: StorePlatform) -> tuple[dict[str, Any], ...]:
    """The checks of a probe, each with what is missing and what to do."""
    advices = [advise(store, check, platform) for check in checks]
    return tuple(
        {"check": check.name, "outcome": check.outcome} | (asdict(advice) if advice else {})
        for check, advice in zip(checks, advices, strict=True)
    )


def _denied(store: TenantStore, check: Check) -> Advice:
    if store.kind == "azure":
        letters, role = AZURE[check.name]
        command = (
            f"az storage container generate-sas --name {store.container} --permissions {letters} "
            f"--https-only --expiry <date> --account-name <account>"
        )
        return Advice(
            f"permission {letters!r} on container {store.container}",
            f"Use a SAS with these permissions beside those it has, or an account key. The role {role} gives the same.",
            command,
        )
    if store.kind == "nfs":
        mode = "rwX" if check.name == "write" else "rX"
        return Advice(
            f"{'write' if check.name == 'write' else 'read'} access to {store.container}",
            "Let the user that DeepLens runs as into the directory.",
            f"setfacl -R -m u:<deeplens>:{mode} {store.container}",
        )
    return Advice(
        f"{', '.join(ACTIONS[check.name])} on {_resource(store, check.name)}",
        "Add this statement to the policy of the role or user whose credentials these are. A bucket policy, a key of "
        "KMS or an owner other than bucketOwner may refuse as well.",
        _json(policy(store, check.name)),
    )


def policy(store: TenantStore, name: CheckName) -> dict[str, Any]:
    """A policy of what a check needs."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(ACTIONS[name]), "Resource": _resource(store, name)}
    if name == "list" and store.prefix:
        statement["Condition"] = {"StringLike": {"s3:prefix": [f"{store.prefix}*"]}}
    return _document(statement)


def _resource(store: TenantStore, name: CheckName) -> str:
    bucket = f"arn:aws:s3:::{store.container}"
    return bucket if name in ON_BUCKET else f"{bucket}/{store.prefix}*"


def _role(store: TenantStore, platform: StorePlatform, *, answers_others: bool) -> Advice:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{platform.account}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": store.external_id}},
    }
    if answers_others:
        return Advice(
            f"a condition on sts:ExternalId in the trust policy of {store.role_arn}",
            "The role also answers without the external id, or with another one, so whoever names it could have "
            "DeepLens read the bucket. Give the role this trust policy.",
            _json(_document(trust)),
        )
    return Advice(
        f"sts:AssumeRole on {store.role_arn} with external id {store.external_id}",
        "Give the role this trust policy.",
        _json(_document(trust)),
    )


def _notification(store: TenantStore, platform: StorePlatform) -> Advice:
    if store.kind == "nfs":
        return Advice("nothing", "Directories send no notifications; scan the store as often as you need it.")
    if store.kind == "azure":
        command = (
            "az eventgrid event-subscription create --name deeplens "
            "--source-resource-id <the storage account's resource id> "
            f"--endpoint '{platform.event_url(store)}?secret=<eventSecret>' "
            "--included-event-types Microsoft.Storage.BlobCreated Microsoft.Storage.BlobDeleted "
            f"--subject-begins-with /blobServices/default/containers/{store.container}/blobs/{store.prefix}"
        )
        return Advice("an Event Grid subscription", "Until its first event comes, only scans find changes.", command)
    if store.endpoint or not platform.queue_arn:
        command = (
            f"mc admin config set <alias> notify_webhook:deeplens endpoint='{platform.event_url(store)}' "
            f"auth_token='<eventSecret>' && mc event add <alias>/{store.container} arn:minio:sqs::deeplens:webhook "
            f"--event put,delete{f' --prefix {store.prefix}' if store.prefix else ''}"
        )
        return Advice("a webhook notification", "Until its first event comes, only scans find changes.", command)
    return Advice(
        f"a notification of {' and '.join(EVENTS)} to {platform.queue_arn}",
        f"aws s3api put-bucket-notification-configuration --bucket {store.container} "
        "--notification-configuration file://… replaces what is there: add this to it.",
        _json({"QueueConfigurations": [queue_configuration(store, platform.queue_arn)]}),
    )


def queue_configuration(store: TenantStore, queue_arn: str) -> dict[str, Any]:
    """A bucket's notification of what happens below the prefix."""
    configuration: dict[str, Any] = {"Id": "deeplens", "QueueArn": queue_arn, "Events": list(EVENTS)}
    if store.prefix:
        configuration["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": store.prefix}]}}
    return configuration


def _document(statement: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)
