"""The object stores' suite on S3's API, and what only a real server shows."""

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from deeplens import aws
from deeplens.errors import ObjectNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.ports import ObjectStore
from deeplens.settings import Settings
from deeplens.storage.s3 import S3Store

from local.services.localstack import LocalStackService
from tests.unit.test_storage import ObjectStoreSuite

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The S3 client that functions get on the local stack."""
    folder = tmp_path_factory.mktemp("localstack")
    service = LocalStackService(0, folder, ROOT / ".tools", folder)
    with pytest.MonkeyPatch.context() as patch:
        # LocalStack looks at signatures only when told to.
        patch.setenv("S3_SKIP_SIGNATURE_VALIDATION", "0")
        service.start()
        for name, value in {**service.environment, "DEEPLENS_ENVIRONMENT": "local"}.items():
            patch.setenv(name, value)
        patch.setattr(aws, "settings", Settings)
        aws._client.cache_clear()
        yield aws.client("s3")
        aws._client.cache_clear()
    service.stop()


class TestS3Store(ObjectStoreSuite):
    @pytest.fixture
    def new_store(self, client: Any) -> Callable[[str], ObjectStore]:
        number = next(_numbers)

        def new(bucket: str) -> ObjectStore:
            store = S3Store(client, f"s3://{bucket}-{os.getpid()}-{number}", "us-east-1")
            store.ensure()
            return store

        return new

    def test_a_signed_url_reads_one_object_without_credentials(self, store: ObjectStore) -> None:
        store.put("a b/ö%.jpg", b"body", "image/jpeg")
        answer = httpx.get(store.presign_get("a b/ö%.jpg", timedelta(minutes=1)))
        assert (answer.status_code, answer.content) == (200, b"body")
        assert answer.headers["content-type"] == "image/jpeg"

    def test_a_signed_url_writes_one_object_of_one_type(self, store: ObjectStore) -> None:
        url = store.presign_put("a b/ö%.png", timedelta(minutes=1), "image/png")
        answer = httpx.put(url, content=b"body", headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, answer.text
        assert store.get("a b/ö%.png") == b"body"
        assert store.head("a b/ö%.png").content_type == "image/png"

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
