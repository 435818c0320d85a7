"""What a probe's findings mean: a table from refusals to what is missing, and snippets that hold together."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from deeplens.stores.advice import (
    Check,
    CheckName,
    Outcome,
    advise,
    is_ready,
    outcome_of,
    policy,
    queue_configuration,
)
from deeplens.stores.model import StorePlatform, TenantStore

from tests.harness.api import START

QUEUE = "arn:aws:sqs:eu-central-1:999999999999:ObjectQueue"
PLATFORM = StorePlatform("999999999999", QUEUE, "https://api.example")
S3 = TenantStore(
    "sto_a", "tenant_acme", "s3", "reference", "photos", START, prefix="2026/", role_arn="arn:aws:iam::1:role/r"
)
MINIO = replace(S3, kind="minio", endpoint="https://minio.example", role_arn=None)
AZURE = replace(S3, kind="azure", endpoint="https://acme.blob.core.windows.net", role_arn=None)
NFS = replace(S3, kind="nfs", container="scans", role_arn=None)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("AccessDenied", "denied"),
        ("403", "denied"),
        ("AuthorizationPermissionMismatch", "denied"),
        ("NoSuchBucket", "missing"),
        ("ContainerNotFound", "missing"),
        ("InvalidAccessKeyId", "credentials"),
        ("SignatureDoesNotMatch", "credentials"),
        ("AuthenticationFailed", "credentials"),
        ("PermanentRedirect", "region"),
        ("AssumeRole", "role"),
        ("ExternalId", "external-id"),
        ("InvalidObjectState", "archived"),
        ("SomethingNew", "denied"),
    ],
)
def test_what_a_refusals_code_says(reason: str, expected: str) -> None:
    assert outcome_of(reason) == expected


@pytest.mark.parametrize(
    ("store", "name", "outcome", "missing", "in_snippet"),
    [
        (S3, "list", "denied", "s3:ListBucket on arn:aws:s3:::photos", '"2026/*"'),
        (S3, "read", "denied", "s3:GetObject on arn:aws:s3:::photos/2026/*", "s3:GetObject"),
        (S3, "write", "denied", "s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload", "s3:PutObject"),
        (S3, "notification", "denied", "s3:GetBucketNotification on arn:aws:s3:::photos", "s3:GetBucketNotification"),
        (S3, "notification", "not-configured", QUEUE, "s3:ObjectRemoved:*"),
        (S3, "list", "role", "external id deeplens:tenant_acme", '"sts:ExternalId": "deeplens:tenant_acme"'),
        (S3, "list", "external-id", "a condition on sts:ExternalId", '"sts:ExternalId": "deeplens:tenant_acme"'),
        (S3, "list", "missing", "bucket photos", None),
        (S3, "read", "archived", "readable objects", None),
        (S3, "list", "region", "the bucket's region", None),
        (MINIO, "list", "credentials", "accessKeyId and secretAccessKey", None),
        (MINIO, "list", "endpoint", "a public https endpoint", None),
        (MINIO, "notification", "waiting", "a webhook", "mc event add <alias>/photos"),
        (MINIO, "list", "unreachable", "an answer", None),
        (AZURE, "list", "denied", "permission 'l' on container photos", "--permissions l "),
        (AZURE, "read", "denied", "permission 'r' on container photos", "--permissions r "),
        (AZURE, "write", "denied", "permission 'cwd' on container photos", "--permissions cwd "),
        (AZURE, "list", "credentials", "accountKey or sas", None),
        (AZURE, "notification", "waiting", "an Event Grid subscription", "/containers/photos/blobs/2026/"),
        (NFS, "read", "denied", "read access to scans", "setfacl"),
        (NFS, "list", "outside", "a directory without symbolic links", None),
        (NFS, "list", "missing", "directory scans", None),
        (NFS, "notification", "waiting", "nothing", None),
    ],
)
def test_advice_names_exactly_what_is_missing(
    store: TenantStore, name: CheckName, outcome: Outcome, missing: str, in_snippet: str | None
) -> None:
    advice = advise(store, Check(name, outcome), PLATFORM)
    assert advice is not None
    assert missing in advice.missing
    assert (advice.snippet is None) == (in_snippet is None)
    assert in_snippet is None or in_snippet in (advice.snippet or "")


@pytest.mark.parametrize("store", [S3, MINIO, AZURE, NFS])
def test_there_is_advice_for_every_outcome_of_every_check(store: TenantStore) -> None:
    for name in get_args(CheckName):
        for outcome in get_args(Outcome):
            advice = advise(store, Check(name, outcome), PLATFORM)
            assert (advice is None) == (outcome in ("passed", "skipped"))


def test_snippets_of_aws_are_json_that_grants_that_and_no_more() -> None:
    advice = advise(S3, Check("read", "denied"), PLATFORM)
    assert advice is not None
    assert json.loads(advice.snippet or "") == policy(S3, "read")
    (statement,) = policy(S3, "read")["Statement"]
    assert statement == {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::photos/2026/*"}
    trust = json.loads((advise(S3, Check("list", "role"), PLATFORM) or pytest.fail("no advice")).snippet or "")
    assert trust["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::999999999999:root"}
    configuration: dict[str, Any] = queue_configuration(S3, QUEUE)
    assert configuration["Filter"] == {"Key": {"FilterRules": [{"Name": "prefix", "Value": "2026/"}]}}


@pytest.mark.parametrize(
    ("mode", "outcomes", "ready"),
    [
        ("reference", ("passed", "passed", "skipped", "not-configured"), True),
        ("reference", ("passed", "denied", "skipped", "passed"), False),
        ("reference", ("denied", "passed", "skipped", "passed"), False),
        ("managed", ("passed", "passed", "passed", "skipped"), True),
        ("managed", ("passed", "passed", "denied", "skipped"), False),
        ("managed", ("passed", "passed", "skipped", "skipped"), False),
    ],
)
def test_a_store_is_ready_when_what_its_mode_needs_works(mode: Any, outcomes: tuple[Outcome, ...], ready: bool) -> None:
    names = get_args(CheckName)
    checks = [Check(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
    assert is_ready(replace(S3, mode=mode), checks) is ready
