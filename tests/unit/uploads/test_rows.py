"""What the API and ``ingest`` rely on in ``DirectUploads``; the integration tests run the same suite on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.events.bucket import ObjectLocation
from deeplens.tenants.limits import Storage
from deeplens.uploads.model import DirectUpload, DirectUploads, Refusal, location_of, roots_of, upload_of

from tests.fakes.uploads import FakeDirectUploads
from tests.harness.api import tenant

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REFUSED = Refusal("TENANT_STORE_DENIED", "no", True)


class DirectUploadsSuite:
    @pytest.fixture
    def uploads(self) -> DirectUploads:
        raise NotImplementedError

    @pytest.fixture
    def owner(self) -> str:
        """A tenant's id that no other test uses."""
        raise NotImplementedError

    @pytest.fixture
    def added(self, uploads: DirectUploads, owner: str) -> Callable[..., DirectUpload]:
        def add(upload_id: str = "upl_a", **more: Any) -> DirectUpload:
            given = {"created_at": NOW, "expires_at": NOW + timedelta(days=1), "due": NOW + MINUTE} | more
            return uploads.add(DirectUpload(owner, upload_id, "a\x00b.jpg", 10, **given))

        return add

    def test_a_row_comes_back_as_it_was_and_the_first_one_stays(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        more = {"sha256": 64 * "a", "tags": ("sea",), "metadata": {"iso": 200}, "part_bytes": 5}
        first = added(**more)
        assert replace(first, file_name="") == DirectUpload(
            owner, "upl_a", "", 10, NOW, NOW + timedelta(days=1), NOW + MINUTE, **more
        )
        assert added(sha256=None) == first == uploads.find(owner, "upl_a")
        assert uploads.find(owner, "upl_b") is None
        assert uploads.find("tenant_somebody_else", "upl_a") is None

    def test_the_first_name_for_the_parts_counts(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        added()
        assert [uploads.keep_multipart(owner, "upl_a", name) for name in ("m", "n")] == ["m", "m"]
        upload = uploads.find(owner, "upl_a")
        assert upload
        assert upload.multipart_id == "m"

    def test_one_worker_at_a_time_has_an_upload(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        added()
        until = NOW + 3 * MINUTE
        assert uploads.claim(owner, "upl_a", NOW, until)
        assert not uploads.claim(owner, "upl_a", NOW + MINUTE, until)
        assert uploads.claim(owner, "upl_a", until, until + MINUTE)
        uploads.put_off(owner, "upl_a", NOW)
        assert uploads.claim(owner, "upl_a", until, until + MINUTE)
        assert not uploads.claim("tenant_somebody_else", "upl_a", until, until)
        uploads.end(owner, "upl_a", "failed", NOW, REFUSED)
        assert not uploads.claim(owner, "upl_a", NOW + timedelta(days=1), until)

    def test_a_refusal_counts_as_an_attempt_and_is_told(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        added()
        uploads.put_off(owner, "upl_a", NOW + MINUTE, REFUSED)
        uploads.put_off(owner, "upl_a", NOW + 2 * MINUTE)
        upload = uploads.find(owner, "upl_a")
        assert upload
        assert (upload.attempts, upload.refusal, upload.due) == (1, REFUSED, NOW + 2 * MINUTE)

    def test_the_first_end_counts(self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]) -> None:
        added()
        uploads.put_off(owner, "upl_a", NOW, REFUSED)
        uploads.end(owner, "upl_a", "ingested", NOW)
        uploads.end(owner, "upl_a", "failed", NOW + MINUTE, REFUSED)
        uploads.put_off(owner, "upl_a", NOW + MINUTE, REFUSED)
        upload = uploads.find(owner, "upl_a")
        assert upload
        assert (upload.status, upload.ended_at, upload.refusal, upload.attempts) == ("ingested", NOW, None, 1)

    def test_overdue_uploads_are_given_once_until_their_next_time(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        long_ago = NOW - timedelta(days=4000)
        for number, wait in enumerate((3, 1, 2, 60)):
            added(f"upl_{number}", due=long_ago + wait * MINUTE, created_at=NOW + wait * MINUTE)
        added("upl_ended", due=long_ago)
        uploads.end(owner, "upl_ended", "aborted", NOW)
        uploads.expect(owner, "upl_3", long_ago + 4 * MINUTE)
        uploads.expect(owner, "upl_3", NOW)

        late = uploads.overdue(long_ago + 30 * MINUTE, NOW, 3)
        assert [upload.id for upload in late] == ["upl_1", "upl_2", "upl_0"]
        assert {upload.due for upload in late} == {NOW}
        assert [upload.id for upload in uploads.overdue(long_ago + 30 * MINUTE, NOW, 3)] == ["upl_3"]
        assert uploads.overdue(long_ago + 30 * MINUTE, NOW, 3) == []

    def test_open_uploads_are_reserved_per_tenant(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        assert uploads.reserved(owner) == Storage()
        added("upl_a")
        added("upl_b")
        uploads.end(owner, "upl_b", "ingested", NOW)
        assert uploads.reserved(owner) == Storage(1, 10)
        assert uploads.reserved("tenant_somebody_else") == Storage()

    def test_what_ended_long_ago_is_forgotten(
        self, uploads: DirectUploads, owner: str, added: Callable[..., DirectUpload]
    ) -> None:
        long_ago = NOW - timedelta(days=4000)
        for name, at in (("upl_old", long_ago), ("upl_new", NOW)):
            added(name)
            uploads.end(owner, name, "failed", at)
        added("upl_open", created_at=long_ago)
        assert uploads.forget(long_ago + MINUTE, 10) == 1
        assert uploads.find(owner, "upl_old") is None
        assert uploads.find(owner, "upl_new")
        assert uploads.find(owner, "upl_open")


class TestFakeDirectUploads(DirectUploadsSuite):
    @pytest.fixture
    def uploads(self) -> DirectUploads:
        return FakeDirectUploads()

    @pytest.fixture
    def owner(self) -> str:
        return "tenant_a"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("uploads/upl_01kd", "upl_01kd"),
        ("uploads/upl_", None),
        ("uploads/upl_A", None),
        ("uploads/img_a", None),
        ("uploads/upl_a/b", None),
        ("uploads/upl_a\n", None),
        ("images/upl_a", None),
        ("x/uploads/upl_a", None),
        ("", None),
    ],
)
def test_only_uploads_keys_are_uploads(key: str, expected: str | None) -> None:
    assert upload_of(key) == expected


def test_a_source_speaks_for_its_own_kind_of_store() -> None:
    assert roots_of(ObjectLocation("aws:s3", "b", "k")) == ["s3://b", "minio://b"]
    assert roots_of(ObjectLocation("deeplens:nfs", "b", "k")) == ["nfs://b"]
    assert roots_of(ObjectLocation("elsewhere", "b", "k")) == []
    upload = DirectUpload("tenant_acme", "upl_a", "a.jpg", 10, NOW, NOW, NOW)
    for scheme, source in (("s3", "aws:s3"), ("minio", "aws:s3"), ("nfs", "deeplens:nfs"), ("azure", "")):
        owner = replace(tenant("acme"), storage_uri=f"{scheme}://b")
        assert location_of(owner, upload) == ObjectLocation(source, "b", "uploads/upl_a")
