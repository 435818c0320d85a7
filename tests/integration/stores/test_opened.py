"""Registered stores on S3's API, signatures checked: probes, owners, roles, rotation, borders."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from deeplens.aws import clients as aws
from deeplens.aws.secrets import SecretsManager
from deeplens.egress.rules import EgressRules
from deeplens.errors import EndpointRefused, InvalidEvent, ObjectNotFound, TenantStoreDenied, TenantStoreUnavailable
from deeplens.settings import Settings
from deeplens.stores.model import Credentials, TenantStore
from deeplens.stores.probe import probe
from deeplens.stores.resolver import OpenStores, Stores

from local.services.localstack import LocalStackService
from tests.fakes.db import FakeDirectory
from tests.fakes.stores import FakeRegisteredStores
from tests.fakes.sts import FakeSts
from tests.integration.storage.test_s3 import tenant

HERE = EgressRules.of(["127.0.0.1/32"], http=True)
OWNER, STRANGER = "111111111111", "222222222222"
"""LocalStack takes an access key of twelve digits for the account."""
KEYS = Credentials({"accessKeyId": OWNER, "secretAccessKey": "test"})
STORE = TenantStore("sto_a", "tenant_a", "s3", "reference", "acme-photos", datetime(2026, 11, 20, tzinfo=UTC))


@pytest.fixture(scope="module")
def endpoint(localstack: LocalStackService) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**localstack.environment, "DEEPLENS_ENVIRONMENT": "local"}.items():
            patch.setenv(name, value)
        of_account(localstack.environment["AWS_ENDPOINT_URL"], OWNER).create_bucket(Bucket="acme-photos")
        yield localstack.environment["AWS_ENDPOINT_URL"]


def of_account(endpoint: str, account: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=account, aws_secret_access_key="test"
    )


@pytest.fixture
def registered() -> FakeRegisteredStores:
    return FakeRegisteredStores(FakeDirectory())


@pytest.fixture
def stores(endpoint: str, registered: FakeRegisteredStores, tmp_path: Path) -> OpenStores:
    secrets = SecretsManager(lambda: aws.client("secretsmanager", Settings()))
    return OpenStores(Settings(tenant_nfs_root=tmp_path), lambda: registered, lambda: secrets, HERE)


def outcomes(
    stores: OpenStores, store: TenantStore, credentials: Credentials = KEYS, queue: str = ""
) -> dict[str, str]:
    return {check.name: str(check.outcome) for check in probe(stores, store, credentials, queue)}


def test_a_bucket_that_opens_is_found_to_open(endpoint: str, stores: OpenStores) -> None:
    of_account(endpoint, OWNER).put_object(Bucket="acme-photos", Key="a.jpg", Body=b"body")
    expected = {"list": "passed", "read": "passed", "write": "skipped", "notification": "waiting"}
    for store in (STORE, replace(STORE, kind="minio", endpoint=endpoint), replace(STORE, bucket_owner=OWNER)):
        assert outcomes(stores, store) == expected
    managed = outcomes(stores, replace(STORE, mode="managed", prefix="deeplens/"))
    assert managed == {"list": "passed", "read": "passed", "write": "passed", "notification": "skipped"}


def test_a_read_that_the_server_denies_is_told_apart_from_its_list(endpoint: str, stores: OpenStores) -> None:
    """LocalStack asks no policy, but refuses what is archived with 403, as AWS does."""
    s3 = of_account(endpoint, OWNER)
    s3.create_bucket(Bucket="acme-archive")
    s3.put_object(Bucket="acme-archive", Key="a.jpg", Body=b"body", StorageClass="GLACIER")
    found = outcomes(stores, replace(STORE, container="acme-archive"))
    assert (found["list"], found["read"]) == ("passed", "archived")


def test_keys_that_no_image_may_have_are_not_read(endpoint: str, stores: OpenStores) -> None:
    s3 = of_account(endpoint, OWNER)
    s3.create_bucket(Bucket="acme-odd")
    for key in ("p//double.png", "p/./dot.png", "p/z.png"):
        s3.put_object(Bucket="acme-odd", Key=key, Body=b"body")
    assert outcomes(stores, replace(STORE, container="acme-odd", prefix="p/"))["read"] == "passed"


def test_every_call_names_the_owner_that_the_bucket_must_have(stores: OpenStores) -> None:
    store = replace(STORE, bucket_owner=STRANGER)
    (client, _), owners = stores.s3_client(store, KEYS), []

    def note(request: Any, **_: Any) -> None:
        owners.append(request.headers.get("x-amz-expected-bucket-owner", b"").decode())

    client.meta.events.register("before-send.s3", note)
    client.list_objects_v2(Bucket=store.container)
    client.put_object(Bucket=store.container, Key="b.jpg", Body=b"")
    client.delete_object(Bucket=store.container, Key="b.jpg")
    assert owners == [STRANGER] * 3


def test_what_is_not_there_or_inside_or_away_is_told_apart(endpoint: str, stores: OpenStores) -> None:
    assert outcomes(stores, replace(STORE, container="no-such-bucket"))["list"] == "missing"
    assert outcomes(stores, replace(STORE, endpoint="http://127.0.0.1:9"))["list"] == "unreachable"
    assert outcomes(stores, replace(STORE, endpoint="http://169.254.169.254"))["list"] == "endpoint"
    elsewhere = OpenStores(Settings(), lambda: pytest.fail("asked"), lambda: pytest.fail("asked"), EgressRules())
    assert outcomes(elsewhere, replace(STORE, endpoint=endpoint))["list"] == "endpoint"


def test_a_notification_is_found_once_it_is_configured(endpoint: str, stores: OpenStores) -> None:
    sqs = boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1")
    url = sqs.create_queue(QueueName="objects")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert outcomes(stores, STORE, queue=arn)["notification"] == "not-configured"
    one = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    of_account(endpoint, OWNER).put_bucket_notification_configuration(
        Bucket="acme-photos", NotificationConfiguration={"QueueConfigurations": [one]}
    )
    assert outcomes(stores, STORE, queue=arn)["notification"] == "passed"


@pytest.fixture
def with_role(endpoint: str) -> Iterator[Callable[[Callable[[str | None], str]], tuple[FakeSts, dict[str, str]]]]:
    """Probe a store whose role refuses external ids as the test says; return STS, and the outcomes."""
    started: list[FakeSts] = []

    def probed(refuse: Callable[[str | None], str]) -> tuple[FakeSts, dict[str, str]]:
        started.append(FakeSts(OWNER, refuse))
        settings = Settings(aws_endpoint_url=started[-1].url)
        opened = OpenStores(settings, lambda: pytest.fail("asked"), lambda: pytest.fail("asked"), HERE)
        store = replace(STORE, role_arn=f"arn:aws:iam::{OWNER}:role/deeplens", endpoint=endpoint)
        return started[-1], outcomes(opened, store, Credentials({}))

    yield probed
    for sts in started:
        sts.close()


def only(allowed: Callable[[str | None], bool], code: str = "AccessDenied") -> Callable[[str | None], str]:
    return lambda external_id: "" if allowed(external_id) else code


def test_a_role_is_assumed_with_the_tenants_external_id(with_role: Any) -> None:
    sts, found = with_role(only(lambda external_id: external_id == "deeplens:tenant_a"))
    assert (found["list"], found["read"]) == ("passed", "passed")
    assert sts.asked[0] is None
    assert sts.asked[3:] == ["deeplens:tenant_a"]


@pytest.mark.parametrize(
    "allowed",
    [
        lambda external_id: True,
        lambda external_id: external_id in (None, "deeplens:tenant_a"),
        lambda external_id: external_id is not None,
        lambda external_id: (external_id or "").startswith("deeplens:"),
        lambda external_id: (external_id or "").startswith("deeplens:tenant_a"),
    ],
    ids=["no condition", "IfExists", "any external id", "deeplens:*", "deeplens:tenant_a*"],
)
def test_a_role_that_answers_others_is_refused(with_role: Any, allowed: Callable[[str | None], bool]) -> None:
    sts, found = with_role(only(allowed))
    assert (found["list"], found["read"]) == ("external-id", "external-id")
    assert "deeplens:tenant_a" not in sts.asked


@pytest.mark.parametrize(("code", "outcome"), [("Throttling", "unreachable"), ("RequestLimitExceeded", "role")])
def test_an_sts_that_does_not_answer_others_proves_nothing(with_role: Any, code: str, outcome: str) -> None:
    _, found = with_role(only(lambda external_id: external_id == "deeplens:tenant_a", code))
    assert found["list"] == outcome


def test_a_role_that_answers_nobody_is_told_apart(with_role: Any) -> None:
    assert with_role(only(lambda _: False))[1]["list"] == "role"


def test_signatures_of_other_keys_are_refused_by_the_server(endpoint: str, stores: OpenStores) -> None:
    of_account(endpoint, OWNER).put_object(Bucket="acme-photos", Key="a.jpg", Body=b"body")
    good, bad = (
        stores.open_with(STORE, Credentials({"accessKeyId": "test", "secretAccessKey": secret}))
        for secret in ("test", "sunflower")
    )
    assert httpx.get(good.presign_get("a.jpg", timedelta(minutes=1)), trust_env=False).status_code == 200
    assert httpx.get(bad.presign_get("a.jpg", timedelta(minutes=1)), trust_env=False).status_code == 403


def test_rotated_credentials_are_used_and_the_old_ones_are_gone(
    stores: OpenStores, registered: FakeRegisteredStores
) -> None:
    secrets = SecretsManager(lambda: aws.client("secretsmanager", Settings()))
    first, second = (replace(STORE, id="sto_rotated", credentials_version=version) for version in (1, 2))
    secrets.put(first.secret_name, json.dumps(dict(KEYS.values)))
    assert stores.open(first).list() is not None
    secrets.put(second.secret_name, json.dumps({**KEYS.values, "secretAccessKey": "other"}))
    secrets.delete(first.secret_name)
    stores.open(second)
    with pytest.raises(TenantStoreDenied, match="rotate them"):
        OpenStores(Settings(), lambda: registered, lambda: secrets, HERE).open(first)


def test_a_reference_is_read_and_never_written(endpoint: str, stores: OpenStores) -> None:
    of_account(endpoint, OWNER).put_object(Bucket="acme-photos", Key="2026/a.jpg", Body=b"body")
    of_account(endpoint, OWNER).put_object(Bucket="acme-photos", Key="secret.jpg", Body=b"secret")
    store = stores.open_with(replace(STORE, prefix="2026/"), KEYS)
    assert (store.get("a.jpg"), [entry.key for entry in store.list()]) == (b"body", ["a.jpg"])
    for attempt in (
        lambda: store.put("b.jpg", b"", "image/jpeg"),
        lambda: store.delete(["a.jpg"]),
        lambda: store.copy("a.jpg", "b.jpg"),
        lambda: store.uploads(),
    ):
        with pytest.raises(TenantStoreDenied):
            attempt()
    for key in ("../secret.jpg", "a/../../secret.jpg", "/secret.jpg", "./../secret.jpg"):
        with pytest.raises(ValueError, match="not a key"):
            store.get(key)
    with pytest.raises(ObjectNotFound):
        store.get("secret.jpg")


def test_a_uri_leads_to_its_own_tenants_stores_only(stores: OpenStores, registered: FakeRegisteredStores) -> None:
    registered.save(replace(STORE, state="ready", role_arn=f"arn:aws:iam::{OWNER}:role/deeplens"))
    resolver = Stores(Settings(tenant_storage_role_arn="arn:aws:iam::000000000000:role/r"), stores)
    a, b = tenant("s3://tenant-a", "tenant_a"), tenant("s3://tenant-b", "tenant_b")
    assert resolver.holding(a, "s3://sto_a/a.jpg").key_of("s3://sto_a/a.jpg") == "a.jpg"
    for owner, uri in ((b, "s3://sto_a/a.jpg"), (a, "s3://sto_b/a.jpg"), (a, "azure://sto_a/a.jpg")):
        with pytest.raises(InvalidEvent):
            resolver.holding(owner, uri)
    for uri in ("s3://tenant-b/a.jpg", "s3://acme-photos/a.jpg", "nfs://tenant-a/a.jpg"):
        with pytest.raises(InvalidEvent):
            resolver.holding(a, uri).key_of(uri)
    with pytest.raises(InvalidEvent):
        resolver.registered(b, registered.stores["sto_a"])


def test_a_tenants_store_that_is_away_is_no_shared_part(stores: OpenStores) -> None:
    store = stores.open_with(replace(STORE, endpoint="http://127.0.0.1:9"), KEYS)
    for attempt in (lambda: store.get("a"), lambda: store.head("a"), lambda: list(store.list())):
        with pytest.raises(TenantStoreUnavailable):
            attempt()
    inside = stores.open_with(replace(STORE, endpoint="http://10.0.0.1"), KEYS)
    with pytest.raises(EndpointRefused):
        inside.get("a")
