"""The object stores' suite on S3's API, and what only a real server shows."""

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from deeplens.aws import clients as aws
from deeplens.embedding.model import ModelRef
from deeplens.errors import ObjectNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.events.bucket import BucketNotification
from deeplens.settings import Settings
from deeplens.storage.ports import FormPost, ObjectStore, PartUrl
from deeplens.storage.s3 import MARK, S3Store
from deeplens.storage.scope import BucketCredentials
from deeplens.stores.resolver import Stores
from deeplens.tenants.model import Tenant

from local.services.localstack import LocalStackService
from local.stack.stack import LOCAL_STORAGE_ROLE
from tests.unit.storage.test_client_uploads import ClientUploadsSuite
from tests.unit.storage.test_object_store import BucketOwnerSuite, ObjectStoreSuite, Opened

_numbers = itertools.count(1)


def tenant(storage_uri: str, tenant_id: str = "tenant_a") -> Tenant:
    return Tenant(tenant_id, "A", "active", "", storage_uri, "", ModelRef("m", "1", 8))


def signed_with(request: Any) -> tuple[str, str]:
    """Access key and session token of a request."""
    authorization = request.headers["Authorization"].decode()
    return authorization.partition("Credential=")[2].split("/")[0], request.headers["X-Amz-Security-Token"].decode()


@pytest.fixture(scope="module")
def client(localstack: LocalStackService) -> Iterator[Any]:
    """The functions' own S3 client on the local stack."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**localstack.environment, "DEEPLENS_ENVIRONMENT": "local"}.items():
            patch.setenv(name, value)
        yield aws.client("s3", Settings())


class TestS3Store(ObjectStoreSuite):
    @pytest.fixture
    def new_store(self, stores: Stores) -> Callable[[str], ObjectStore]:
        number = next(_numbers)

        def new(bucket: str) -> ObjectStore:
            store = stores.for_tenant(tenant(f"s3://{bucket}-{os.getpid()}-{number}"))
            store.ensure()
            return store

        return new

    @pytest.fixture
    def stores(self, client: Any) -> Stores:
        return Stores(Settings(tenant_storage_role_arn=LOCAL_STORAGE_ROLE, installation_id="ours"))

    def test_calls_go_out_with_the_tenants_credentials_and_not_the_functions(
        self, client: Any, stores: Stores, store: ObjectStore
    ) -> None:
        keys = []
        assert isinstance(store, S3Store)
        store._client.meta.events.register("before-send.s3", lambda request, **_: keys.append(signed_with(request)))
        store.put("a", b"body", "text/plain")
        assert store.get("a") == b"body"
        assert [info.key for info in store.list()] == ["a"]
        assert len(keys) == 3
        (access_key, token), *others = set(keys)
        assert not others
        assert access_key.startswith(("ASIA", "LSIA"))  # AWS's and LocalStack's temporary ones
        assert token
        assert access_key != client._request_signer._credentials.access_key

    def test_two_tenants_never_share_credentials(self, stores: Stores) -> None:
        a, b = (stores.for_tenant(tenant(f"s3://{name}", name)) for name in ("tenant-a", "tenant-b"))
        signed = [httpx.URL(store.presign_get("k", timedelta(minutes=1))).params for store in (a, b)]
        assert len({url["X-Amz-Credential"].split("/")[0] for url in signed}) == 2
        assert len({url["X-Amz-Security-Token"] for url in signed}) == 2

    def test_who_assumed_the_role_is_told_by_the_sessions_name(self, client: Any) -> None:
        credentials = BucketCredentials(aws.client("sts", Settings()), LOCAL_STORAGE_ROLE, "tenant_a", "tenant-a")
        me = aws.scoped_client("sts", Settings(), credentials).get_caller_identity()
        assert me["Arn"] == "arn:aws:sts::000000000000:assumed-role/deeplens-tenant-storage/tenant_a"

    def test_a_signed_url_reads_one_object_without_credentials(self, store: ObjectStore) -> None:
        store.put("a b/ö%.jpg", b"body", "image/jpeg")
        answer = httpx.get(store.presign_get("a b/ö%.jpg", timedelta(minutes=1)))
        assert (answer.status_code, answer.content) == (200, b"body")
        assert answer.headers["content-type"] == "image/jpeg"

    def test_a_signed_url_is_good_for_nothing_else(self, store: ObjectStore) -> None:
        store.put("a", b"body", "text/plain")
        store.put("b", b"body", "text/plain")
        url = store.presign_get("a", timedelta(minutes=1))
        assert httpx.get(url.replace("/a?", "/b?")).status_code == 403
        assert httpx.put(url, content=b"other").status_code == 403
        assert httpx.delete(url).status_code == 403
        assert httpx.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")).status_code == 403
        assert store.get("a") == b"body"

    def test_a_file_larger_than_a_part_is_stored_whole(self, store: ObjectStore, tmp_path: Path) -> None:
        path = tmp_path / "video"
        path.write_bytes(os.urandom(1 << 20) * 20)
        with path.open("rb") as file:
            store.put("video", file, "video/mp4")
        assert store.get("video") == path.read_bytes()

    def test_listings_go_on_beyond_a_page(self, store: ObjectStore) -> None:
        expected = sorted(f"n/{number}" for number in range(1001))
        for key in expected:
            store.put(key, b"", "text/plain")
        assert [info.key for info in store.list("n/")] == expected


class TestOwnerOfBucket(BucketOwnerSuite):
    """Two installations in one account, each with a tenant of the same name."""

    @pytest.fixture
    def opened(self, client: Any) -> Opened:
        bucket = f"shared-{os.getpid()}-{next(_numbers)}"

        def opened(installation: str) -> ObjectStore:
            settings = Settings(tenant_storage_role_arn=LOCAL_STORAGE_ROLE, installation_id=installation)
            return Stores(settings).for_tenant(tenant(f"s3://{bucket}"))

        return opened

    def forget_mark(self, store: ObjectStore) -> None:
        assert isinstance(store, S3Store)
        store._client.delete_bucket_tagging(Bucket=store._bucket)

    def test_a_mark_leaves_other_tags_alone(self, client: Any, first: ObjectStore, opened: Opened) -> None:
        assert isinstance(first, S3Store)
        tags = [{"Key": "team", "Value": "images"}]
        client.put_bucket_tagging(Bucket=first._bucket, Tagging={"TagSet": tags})
        first.adopt()
        found = {tag["Key"]: tag["Value"] for tag in client.get_bucket_tagging(Bucket=first._bucket)["TagSet"]}
        assert found == {"team": "images", MARK: "first/region:stack-a"}


class TestS3Uploads(ClientUploadsSuite):
    @pytest.fixture
    def store(self, client: Any) -> ObjectStore:
        stores = Stores(Settings(tenant_storage_role_arn=LOCAL_STORAGE_ROLE, installation_id="ours"))
        store = stores.for_tenant(tenant(f"s3://uploads-{os.getpid()}-{next(_numbers)}"))
        store.ensure()
        return store

    def send_form(self, store: Any, form: FormPost, body: bytes) -> bool:
        return httpx.post(form.url, data=dict(form.fields), files={"file": ("a", body)}).is_success

    def send_part(self, store: Any, multipart_id: str, part: PartUrl, body: bytes) -> bool:
        return httpx.put(part.url, content=body).is_success

    def test_no_url_outlives_the_credentials_that_sign_it(self, client: Any) -> None:
        store = S3Store(client, "s3://acme", "us-east-1", lambda: 120.5)
        form = store.uploads().form("uploads/upl_a", 1, timedelta(hours=1))
        part = store.uploads().part_url("uploads/upl_a", "m", 1, 1, timedelta(hours=1))
        for until in (form.expires_at, part.expires_at):
            assert timedelta() < until - datetime.now(UTC) <= timedelta(seconds=121)
        assert httpx.URL(part.url).params["X-Amz-Expires"] == "120"

    def test_a_new_bucket_notifies_of_uploads_alone_and_forgets_abandoned_ones(self, client: Any) -> None:
        queue = aws.client("sqs", Settings()).create_queue(QueueName="ObjectQueue")["QueueUrl"]
        arn = "arn:aws:sqs:us-east-1:000000000000:ObjectQueue"
        bucket = f"notified-{os.getpid()}"
        store = S3Store(client, f"s3://{bucket}", "us-east-1", queue_arn=arn, installation="ours")
        for _ in range(2):
            store.ensure()
        for key in ("images/img_a.jpg", "uploads/upl a+b", "processed/img_a.jpg"):
            store.put(key, b"1", "image/jpeg")

        found = [place for message in received(queue) for place in notification(message).created]

        assert {(place.source, place.bucket, place.key) for place in found} == {("aws:s3", bucket, "uploads/upl a+b")}
        (rule,) = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert rule["Filter"] == {"Prefix": "uploads/"}
        assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == rule["Expiration"]["Days"] == 2


def received(queue: str) -> list[str]:
    """Messages, until none comes for a second."""
    sqs, bodies = aws.client("sqs", Settings()), list[str]()
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages"):
        bodies += [message["Body"] for message in messages]
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def notification(body: str) -> BucketNotification:
    return BucketNotification.model_validate_json(body)


def test_a_missing_bucket_is_the_tenants_fault(client: Any) -> None:
    store = S3Store(client, "s3://no-such-bucket", "us-east-1")
    for attempt in (
        lambda: store.get("a"),
        lambda: store.put("a", b"", "text/plain"),
        lambda: store.delete(["a"]),
        lambda: store.copy("a", "b"),
        lambda: list(store.list()),
    ):
        with pytest.raises(TenantStoreDenied):
            attempt()
    with pytest.raises(ObjectNotFound):
        store.head("a")


def test_a_server_that_is_not_there_is_away() -> None:
    nobody = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=1, retries={"total_max_attempts": 1}),
    )
    store = S3Store(nobody, "s3://acme", "us-east-1")
    for attempt in (lambda: store.get("a"), lambda: store.put("a", b"", "text/plain"), lambda: list(store.list())):
        with pytest.raises(StoreUnavailable):
            attempt()
