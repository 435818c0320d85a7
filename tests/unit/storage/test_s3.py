"""What S3's answers mean to us, and how its clients are made; no server is asked."""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.stub import Stubber
from deeplens.aws import clients as aws
from deeplens.embedding.model import ModelRef
from deeplens.errors import DeepLensError, ObjectNotFound, StoreNotOwned, StoreUnavailable, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.directory import DirectoryStore
from deeplens.storage.s3 import MARK, S3Store
from deeplens.stores.resolver import Stores
from deeplens.tenants.model import Tenant


def s3_client() -> Any:
    return boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )


def tenant(storage_uri: str) -> Tenant:
    return Tenant("tenant_a", "A", "active", "", storage_uri, "", ModelRef("m", "1", 8))


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, ObjectNotFound),
        ("404", 404, ObjectNotFound),
        ("NoSuchBucket", 404, TenantStoreDenied),
        ("AccessDenied", 403, TenantStoreDenied),
        ("403", 403, TenantStoreDenied),
        ("InvalidAccessKeyId", 403, TenantStoreDenied),
        ("KMS.DisabledException", 400, TenantStoreDenied),
        ("PermanentRedirect", 301, TenantStoreDenied),
        ("InvalidObjectState", 403, TenantStoreDenied),
        ("SomethingNew", 400, TenantStoreDenied),
        ("SlowDown", 503, StoreUnavailable),
        ("InternalError", 500, StoreUnavailable),
        ("RequestTimeout", 400, StoreUnavailable),
        ("ExpiredToken", 400, StoreUnavailable),
        ("429", 429, StoreUnavailable),
        ("502", 502, StoreUnavailable),
    ],
)
def test_only_what_will_pass_holds_up_the_partition(code: str, status: int, expected: type[DeepLensError]) -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_client_error("get_object", code, http_status_code=status)
        with pytest.raises(expected):
            S3Store(client, "s3://acme", "us-east-1").get("a")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), StoreUnavailable),
        (ReadTimeoutError(endpoint_url="http://x"), StoreUnavailable),
        (NoCredentialsError(), StoreUnavailable),
    ],
)
def test_a_store_that_cannot_be_reached_is_away(error: Exception, expected: type[DeepLensError]) -> None:
    class Broken:
        def __getattr__(self, _: str) -> Callable[..., Any]:
            def fail(**_: Any) -> Any:
                raise error

            return fail

    with pytest.raises(expected):
        S3Store(Broken(), "s3://acme", "us-east-1").get("a")


def test_a_connection_that_breaks_while_an_object_is_read_is_away() -> None:
    class Body:
        def read(self) -> bytes:
            raise ReadTimeoutError(endpoint_url="http://x")

    class Client:
        def get_object(self, **_: Any) -> dict[str, Any]:
            return {"Body": Body()}

    with pytest.raises(StoreUnavailable):
        S3Store(Client(), "s3://acme", "us-east-1").get_range("a", 0, 10)


@pytest.mark.parametrize(
    ("code", "expected"), [("AccessDenied", TenantStoreDenied), ("InternalError", StoreUnavailable)]
)
def test_an_object_that_was_not_deleted_is_not_passed_over(code: str, expected: type[DeepLensError]) -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_response("delete_objects", {"Errors": [{"Key": "b", "Code": code}]})
        with pytest.raises(expected):
            S3Store(client, "s3://acme", "us-east-1").delete(["a", "b"])


def test_a_name_that_cannot_be_a_bucket_is_the_tenants_fault() -> None:
    with pytest.raises(TenantStoreDenied):
        S3Store(s3_client(), "s3://not a bucket", "us-east-1").get("a")


@pytest.mark.parametrize(
    ("region", "expected"),
    [("us-east-1", {}), ("eu-west-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}})],
)
def test_a_bucket_is_made_in_its_region(region: str, expected: dict[str, Any]) -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_client_error("get_bucket_tagging", "NoSuchBucket", http_status_code=404)
        stubber.add_response("create_bucket", {}, {"Bucket": "acme", **expected})
        stubber.add_client_error("get_bucket_tagging", "NoSuchTagSet", http_status_code=404)
        mark = {"TagSet": [{"Key": MARK, "Value": "ours"}]}
        stubber.add_response("put_bucket_tagging", {}, {"Bucket": "acme", "Tagging": mark})
        stubber.add_response("get_bucket_tagging", mark)
        S3Store(client, "s3://acme", region, installation="ours").ensure()
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "expected"), [("BucketAlreadyExists", TenantStoreDenied), ("OperationAborted", StoreUnavailable)]
)
def test_a_bucket_of_somebody_else_is_not_taken(code: str, expected: type[DeepLensError]) -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_client_error("get_bucket_tagging", "NoSuchBucket", http_status_code=404)
        stubber.add_client_error("create_bucket", code, http_status_code=409)
        with pytest.raises(expected):
            S3Store(client, "s3://acme", "us-east-1", installation="ours").ensure()


def test_a_bucket_that_another_installation_made_and_marked_meanwhile_keeps_its_mark() -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_client_error("get_bucket_tagging", "NoSuchBucket", http_status_code=404)
        # In us-east-1 creating one's own bucket again succeeds.
        stubber.add_response("create_bucket", {})
        stubber.add_response("get_bucket_tagging", {"TagSet": [{"Key": MARK, "Value": "theirs"}]})
        stubber.add_response("get_bucket_tagging", {"TagSet": [{"Key": MARK, "Value": "theirs"}]})
        with pytest.raises(StoreNotOwned):
            S3Store(client, "s3://acme", "us-east-1", queue_arn="arn", installation="ours").ensure()
        stubber.assert_no_pending_responses()


def test_tags_that_cannot_be_read_prove_nothing() -> None:
    client = s3_client()
    with Stubber(client) as stubber:
        stubber.add_client_error("get_bucket_tagging", "AccessDenied", http_status_code=403)
        with pytest.raises(StoreNotOwned, match="GetBucketTagging"):
            S3Store(client, "s3://acme", "us-east-1", installation="ours").require_ours()


class TestResolver:
    @pytest.mark.parametrize(
        "uri",
        ["nfs://", "nfs://..", "nfs://.", "nfs:///etc", "nfs://a/b", "nfs://a/../b", "s3://", "nfs://a\n", "", "acme"],
    )
    def test_a_store_is_one_bucket_never_a_path(self, uri: str) -> None:
        with pytest.raises(TenantStoreDenied):
            Stores(Settings()).for_tenant(tenant(uri))

    def test_an_unknown_scheme_says_which_are_known(self) -> None:
        with pytest.raises(TenantStoreDenied, match="s3, minio and nfs"):
            Stores(Settings()).for_tenant(tenant("ftp://acme"))

    def test_schemes_lead_to_their_stores_each_opened_once(self, local_aws: None) -> None:
        stores = Stores(Settings(tenant_storage_role_arn="arn:aws:iam::000000000000:role/storage"))
        assert isinstance(stores.for_tenant(tenant("nfs://acme")), DirectoryStore)
        for scheme in ("s3", "minio"):
            store = stores.for_tenant(tenant(f"{scheme}://acme"))
            assert isinstance(store, S3Store)
            assert store.uri("a") == f"{scheme}://acme/a"
            assert stores.for_tenant(tenant(f"{scheme}://acme")) is store


@pytest.fixture
def local_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, DEEPLENS_ENVIRONMENT="local", AWS_ENDPOINT_URL="http://127.0.0.1:4599", AWS_REGION="eu-west-1")


def use(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name in ("AWS_ENDPOINT_URL", "S3_ENDPOINT_URL", "DEEPLENS_ENVIRONMENT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    given = {"AWS_ACCESS_KEY_ID": "real", "AWS_SECRET_ACCESS_KEY": "real", **environment}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    # boto3 keeps the credentials that its default session found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws._client.cache_clear()


def client_of(service: str, endpoint_url: str = "") -> Any:
    return aws.client(service, Settings(), endpoint_url)


@pytest.fixture(autouse=True)
def _no_kept_clients() -> Any:
    yield
    aws._client.cache_clear()


class TestClients:
    def test_the_local_stack_is_reached_through_localstack_client(self, local_aws: None) -> None:
        for service in ("s3", "sqs", "secretsmanager"):
            client = client_of(service)
            assert client.meta.endpoint_url == "http://127.0.0.1:4599"
            assert client.meta.region_name == "eu-west-1"
            assert client._request_signer._credentials.access_key == "test"

    def test_without_localstack_client_boto3_goes_to_the_same_place(
        self, local_aws: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "localstack_client.session", None)
        client = client_of("sqs")
        assert client.meta.endpoint_url == "http://127.0.0.1:4599"
        assert client._request_signer._credentials.access_key == "test"

    @pytest.mark.parametrize("package", ["with localstack-client", "without"])
    def test_settings_decide_and_not_the_environment_of_the_process(
        self, local_aws: None, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        if package == "without":
            monkeypatch.setitem(sys.modules, "localstack_client.session", None)
        urls = [f"http://127.0.0.1:{port}" for port in (4601, 4602)]
        first, second = (aws.client("sqs", Settings(aws_endpoint_url=url)) for url in urls)
        assert [client.meta.endpoint_url for client in (first, second)] == urls

    def test_in_production_clients_are_awss_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use(monkeypatch, AWS_REGION="eu-west-1")
        client = client_of("s3")
        assert client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
        assert client._request_signer._credentials.access_key == "real"

    def test_an_endpoint_of_its_own_wins(self, local_aws: None) -> None:
        assert client_of("s3", "http://minio:9000").meta.endpoint_url == "http://minio:9000"

    def test_one_client_serves_all(self, local_aws: None) -> None:
        assert client_of("s3") is client_of("s3")
        assert client_of("s3") is not client_of("s3", "http://minio:9000")

    def test_there_is_a_connection_for_every_thread_and_an_end_to_waiting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, PARALLELISM="64")
        config = client_of("s3").meta.config
        assert config.max_pool_connections == 64
        assert config.connect_timeout <= 5
        assert config.read_timeout <= 30
        assert config.retries["total_max_attempts"] <= 3

    @pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
    def test_urls_are_signed_for_their_method_and_time(self, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
        use(monkeypatch, AWS_REGION=region)
        store = S3Store(client_of("s3"), "s3://acme", region)
        url = store.presign_get("a b.jpg", timedelta(minutes=5))
        assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
        assert "X-Amz-Expires=300" in url
        assert "/a%20b.jpg?" in url
