"""Credentials of one bucket: what their policy allows, and when they are asked for, renewed and used."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from io import BytesIO
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError
from deeplens.aws import clients as aws
from deeplens.embedding.model import ModelRef
from deeplens.errors import DeepLensError, StoreUnavailable
from deeplens.settings import Settings
from deeplens.storage.s3 import S3Store
from deeplens.storage.scope import SESSION_SECONDS, BucketCredentials, bucket_policy
from deeplens.stores import resolver
from deeplens.stores.resolver import Stores
from deeplens.tenants.model import Tenant

ROLE = "arn:aws:iam::123456789012:role/deeplens-tenant-storage"


def allows(policy: dict[str, Any], action: str, resource: str) -> bool:
    """IAM's evaluation of a policy that only allows: some statement names both, * and ? stand for anything."""
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    assert all(set(statement) == {"Effect", "Action", "Resource"} for statement in policy["Statement"])
    return any(
        any(fnmatchcase(action.lower(), one.lower()) for one in statement["Action"])
        and fnmatchcase(resource, statement["Resource"])
        for statement in policy["Statement"]
    )


@pytest.mark.parametrize(
    ("action", "resource", "expected"),
    [
        ("s3:GetObject", "tenant-acme/processed/a.jpg", True),
        ("s3:PutObject", "tenant-acme/a", True),
        ("s3:DeleteObject", "tenant-acme/a", True),
        ("s3:AbortMultipartUpload", "tenant-acme/a", True),
        ("s3:ListBucket", "tenant-acme", True),
        ("s3:CreateBucket", "tenant-acme", True),
        # other tenants' buckets, those with a common beginning or end among them
        ("s3:GetObject", "tenant-other/a", False),
        ("s3:GetObject", "tenant-acme2/a", False),
        ("s3:GetObject", "tenant-acm/a", False),
        ("s3:GetObject", "a-tenant-acme/a", False),
        ("s3:ListBucket", "tenant-acme2", False),
        ("s3:ListBucket", "tenant-other", False),
        ("s3:ListBucket", "*", False),
        ("s3:CreateBucket", "tenant-other", False),
        # what the store never does to its own
        ("s3:DeleteBucket", "tenant-acme", True),
        ("s3:GetBucketTagging", "tenant-acme", True),
        ("s3:PutBucketTagging", "tenant-acme", True),
        ("s3:PutBucketTagging", "tenant-other", False),
        ("s3:PutBucketPolicy", "tenant-acme", False),
        ("s3:PutBucketAcl", "tenant-acme", False),
        ("s3:PutObjectAcl", "tenant-acme/a", False),
        ("s3:DeleteObjectVersion", "tenant-acme/a", False),
        ("s3:PutBucketNotification", "tenant-acme", True),
        ("s3:PutBucketNotification", "tenant-other", False),
        ("s3:PutLifecycleConfiguration", "tenant-acme", True),
        ("s3:ListMultipartUploadParts", "tenant-acme/a", True),
        ("s3:ListMultipartUploadParts", "tenant-other/a", False),
        ("s3:ListAllMyBuckets", "*", False),
        ("sts:AssumeRole", "tenant-acme", False),
        ("iam:PassRole", "tenant-acme", False),
    ],
)
def test_a_policy_allows_the_stores_calls_on_its_bucket_alone(action: str, resource: str, expected: bool) -> None:
    assert allows(bucket_policy("tenant-acme"), action, f"arn:aws:s3:::{resource}") is expected


def test_a_policy_fits_what_sts_takes_and_its_partition() -> None:
    assert len(json.dumps(bucket_policy("b" * 63))) <= 2048
    assert "arn:aws-cn:s3:::acme/*" in json.dumps(bucket_policy("acme", "aws-cn"))


@pytest.mark.parametrize("bucket", ["", "*", "tenant-*", "tenant-acm?", "a/b", "a/../b", "${aws:username}", "acme\n"])
def test_a_name_that_could_stand_for_other_buckets_has_no_policy(bucket: str) -> None:
    with pytest.raises(ValueError, match="not the name of a bucket"):
        bucket_policy(bucket)


class Sts:
    """STS that counts, and gives credentials for ``lifetime``."""

    def __init__(self, lifetime: timedelta = timedelta(hours=1), fails: Exception | None = None) -> None:
        self.lifetime, self.fails = lifetime, fails
        self.requests: list[dict[str, Any]] = []

    def assume_role(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.fails is not None:
            raise self.fails
        number = len(self.requests)
        return {
            "Credentials": {
                "AccessKeyId": f"ASIA{number}",
                "SecretAccessKey": "secret",
                "SessionToken": f"token-{number}",
                "Expiration": datetime.now(UTC) + self.lifetime,
            }
        }


def credentials(sts: Sts) -> BucketCredentials:
    return BucketCredentials(sts, ROLE, "tenant_acme", "tenant-acme")


def test_the_role_is_assumed_for_an_hour_in_the_tenants_name_and_for_its_bucket() -> None:
    sts = Sts()
    assert credentials(sts).get_frozen_credentials().access_key == "ASIA1"
    (request,) = sts.requests
    assert json.loads(request.pop("Policy")) == bucket_policy("tenant-acme")
    assert request == {"RoleArn": ROLE, "RoleSessionName": "tenant_acme", "DurationSeconds": SESSION_SECONDS}


def test_nobody_is_asked_before_the_first_call_and_not_again_within_the_hour() -> None:
    sts = Sts()
    own = credentials(sts)
    assert sts.requests == []
    assert {own.get_frozen_credentials().token for _ in range(100)} == {"token-1"}
    assert 3590 < own.seconds_left() <= 3600


def test_threads_that_start_together_ask_once() -> None:
    sts, start = Sts(), Barrier(8)
    own = credentials(sts)

    def token(_: int) -> str:
        start.wait()
        return str(own.get_frozen_credentials().token)

    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(token, range(8))) == {"token-1"}
    assert len(sts.requests) == 1


def test_credentials_are_renewed_before_they_end() -> None:
    sts = Sts(lifetime=timedelta(minutes=5))
    own = credentials(sts)
    assert own.get_frozen_credentials().access_key == "ASIA1"
    sts.lifetime = timedelta(hours=1)
    assert own.get_frozen_credentials().access_key == "ASIA2"
    assert own.get_frozen_credentials().access_key == "ASIA2"


def test_an_sts_that_is_away_is_noticed_only_when_the_credentials_are_about_to_end() -> None:
    sts = Sts(lifetime=timedelta(minutes=12))
    own = credentials(sts)
    assert own.get_frozen_credentials().access_key == "ASIA1"
    sts.fails = EndpointConnectionError(endpoint_url="http://sts")
    assert own.get_frozen_credentials().access_key == "ASIA1"
    assert own.seconds_left() > 600


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"),
        ClientError({"Error": {"Code": "Throttling"}}, "AssumeRole"),
        EndpointConnectionError(endpoint_url="http://sts"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("a"),
        lambda store: store.put("a", b"", "text/plain"),
        lambda store: list(store.list()),
        lambda store: store.presign_get("a", timedelta(minutes=1)),
    ],
)
def test_a_role_that_cannot_be_assumed_is_never_the_tenants_fault(
    in_production: None, error: Exception, call: Callable[[S3Store], object]
) -> None:
    own = credentials(Sts(fails=error))
    store = S3Store(aws.scoped_client("s3", Settings(), own), "s3://tenant-acme", "us-east-1", own.seconds_left)
    with pytest.raises(StoreUnavailable, match="STS"):
        call(store)


@pytest.mark.parametrize(
    ("wanted", "lifetime", "least", "most"),
    [
        (timedelta(minutes=5), timedelta(hours=1), 300, 300),
        (timedelta(hours=1), timedelta(minutes=30), 1790, 1800),
        (timedelta(days=7), timedelta(hours=1), 3590, 3600),
    ],
)
def test_a_signed_url_ends_no_later_than_what_it_is_signed_with(
    in_production: None, wanted: timedelta, lifetime: timedelta, least: int, most: int
) -> None:
    own = credentials(Sts(lifetime))
    store = S3Store(aws.scoped_client("s3", Settings(), own), "s3://tenant-acme", "us-east-1", own.seconds_left)
    url = store.presign_get("a", wanted)
    seconds = int(url.partition("X-Amz-Expires=")[2].partition("&")[0])
    assert least <= seconds <= most
    assert "X-Amz-Security-Token=token-1" in url
    assert "ASIA1" in url


class TestStores:
    def test_every_tenant_has_a_client_and_credentials_of_its_own(
        self, in_production: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sts = Sts()
        monkeypatch.setattr(aws, "client", lambda service, settings, endpoint_url="": sts)
        stores = Stores(Settings(tenant_storage_role_arn=ROLE))
        for name in ("a", "b", "a", "b"):
            stores.for_tenant(tenant(name)).presign_get("k", timedelta(minutes=1))
        assert [request["RoleSessionName"] for request in sts.requests] == ["tenant_a", "tenant_b"]
        policies = [json.loads(request["Policy"]) for request in sts.requests]
        assert policies == [bucket_policy("tenant-a"), bucket_policy("tenant-b")]

    def test_threads_that_open_a_store_together_ask_sts_once(
        self, in_production: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sts = Sts()
        monkeypatch.setattr(aws, "client", lambda service, settings, endpoint_url="": sts)
        stores = Stores(Settings(tenant_storage_role_arn=ROLE))
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(lambda _: stores.for_tenant(tenant("a")).presign_get("k", timedelta(minutes=1)), range(8)))
        assert len(sts.requests) == 1

    def test_two_tenants_whose_rows_name_one_bucket_share_no_session(self, in_production: None) -> None:
        stores = Stores(Settings(tenant_storage_role_arn=ROLE))
        first, second = (Tenant(i, "", "active", "", "s3://same", "", ModelRef("m", "1", 8)) for i in ("t_a", "t_b"))
        assert stores.for_tenant(first) is not stores.for_tenant(second)

    def test_only_so_many_stores_stay_open(self, in_production: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resolver, "MAX_OPEN_STORES", 2)
        stores = Stores(Settings(tenant_storage_role_arn=ROLE))
        first = stores.for_tenant(tenant("a"))
        assert stores.for_tenant(tenant("b")) is not first
        assert stores.for_tenant(tenant("a")) is first
        stores.for_tenant(tenant("c"))
        stores.for_tenant(tenant("b"))
        assert stores.for_tenant(tenant("a")) is not first

    def test_every_call_names_the_account_and_no_presigned_url_does(
        self, in_production: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws, "client", lambda service, settings, endpoint_url="": Sts())
        store = Stores(Settings(tenant_storage_role_arn=ROLE)).for_tenant(tenant("a"))
        assert isinstance(store, S3Store)
        seen: list[dict[str, str]] = []

        def answer(request: Any, **_: Any) -> AWSResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            seen.append({name: headers[name].decode() for name in headers if name.endswith("expected-bucket-owner")})
            return AWSResponse(request.url, 404, {}, SimpleNamespace(stream=list))

        store._client.meta.events.register("before-send.s3", answer)
        for call in (
            lambda: store.require_ours(),
            lambda: store.head("a"),
            lambda: store.get("a"),
            lambda: store.put("a", b"", "text/plain"),
            lambda: store.put("a", BytesIO(b"stream"), "text/plain"),
            lambda: store.delete(["a"]),
            lambda: list(store.list()),
        ):
            with pytest.raises(DeepLensError):
                call()
        assert seen == [{"x-amz-expected-bucket-owner": "123456789012"}] * 7
        with pytest.raises(DeepLensError):
            store.copy("a", "b")
        assert set(seen[-1]) == {"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"}
        # Browsers send no such header, so a signature over it would be wrong.
        assert "expected-bucket-owner" not in store.presign_get("a", timedelta(minutes=1))

    def test_without_the_role_no_bucket_is_opened_with_the_functions_own_credentials(self, in_production: None) -> None:
        with pytest.raises(StoreUnavailable, match="TENANT_STORAGE_ROLE_ARN"):
            Stores(Settings()).for_tenant(tenant("a"))


def tenant(name: str) -> Tenant:
    return Tenant(f"tenant_{name}", name, "active", "", f"s3://tenant-{name}", "", ModelRef("m", "1", 8))


@pytest.fixture
def in_production(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ENDPOINT_URL", "S3_ENDPOINT_URL", "DEEPLENS_ENVIRONMENT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "the functions' own")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws._client.cache_clear()
    yield
    aws._client.cache_clear()
