"""What the pipeline and the API rely on in ``ObjectStore``; tests/integration runs the same suite on S3."""

import errno
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from unittest.mock import MagicMock

import pytest
from deeplens.embedding.model import ModelRef
from deeplens.errors import InvalidEvent, ObjectNotFound, StoreNotOwned, StoreUnavailable
from deeplens.maintenance.sweep import Sweep
from deeplens.storage.directory import MARK, DirectoryStore
from deeplens.storage.ports import ObjectStore
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeImages
from tests.fakes.storage import MemoryStore

type Opened = Callable[[str], ObjectStore]

ACME = Tenant("tenant_acme", "Acme", "active", "", "s3://tenant-acme", "", ModelRef("m", "1", 8))

ODD_KEYS = [
    "images/img_1.jpg",
    "a",
    "a b/c d.jpg",
    "Ünï/日本/🦊.jpg",
    "e\u0301",
    "100%",
    "%2e%2e/%2F",
    "a+b&c=d?e#f;g",
    "quote'\"<>",
    "no\u00a0break\u2028line",
    "..a/b..",
    ".hidden",
    ".writing-0123456789abcdef",
    "trailing~",
    "-",
    "CON",
    "x" * 254,
    "/".join(["long"] * 204),
]
REFUSED_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a\\b",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "\ud800",
    "\ufffe",
    "folder~/a",
    "x" * 255,
    "/".join(["long"] * 205) + "x",
]


class Unseekable(io.RawIOBase):
    """A body as it comes from a socket: no length, no way back."""

    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._body.readinto(buffer)


class ObjectStoreSuite:
    """Subclasses give ``new_store(bucket)``, a store with an empty bucket of that name."""

    @pytest.fixture
    def store(self, new_store: Callable[[str], ObjectStore]) -> ObjectStore:
        return new_store("tenant-acme")

    def test_what_was_put_comes_back_with_its_type_and_size(self, store: ObjectStore) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        store.put("images/a.bin", b"\x00\xff\r\n", "image/x-own")

        info = store.head("images/a.bin")

        assert store.get("images/a.bin") == b"\x00\xff\r\n"
        assert (info.key, info.size_bytes, info.content_type) == ("images/a.bin", 4, "image/x-own")
        assert info.etag
        assert before <= info.modified_at <= datetime.now(UTC) + timedelta(seconds=2)

    def test_an_empty_object_is_an_object(self, store: ObjectStore) -> None:
        store.put("empty", b"", "text/plain")
        assert store.get("empty") == b""
        assert store.head("empty").size_bytes == 0
        assert store.get_range("empty", 0, 100) == b""

    @pytest.mark.parametrize("wrap", [io.BytesIO, Unseekable])
    def test_a_stream_is_stored_whole(self, store: ObjectStore, wrap: Callable[[bytes], BinaryIO]) -> None:
        body = os.urandom(3_000_001)
        store.put("video.mp4", wrap(body), "video/mp4")
        assert store.get("video.mp4") == body
        assert store.head("video.mp4").content_type == "video/mp4"

    def test_a_second_put_replaces_the_first(self, store: ObjectStore) -> None:
        store.put("a", b"first, and longer", "text/plain")
        first = store.head("a")
        store.put("a", b"second", "image/png")
        assert store.get("a") == b"second"
        assert store.head("a").content_type == "image/png"
        assert store.head("a").etag != first.etag
        assert [info.key for info in store.list()] == ["a"]

    @pytest.mark.parametrize(
        ("start", "length", "found"),
        [(0, 10, slice(0, 10)), (995, 10, slice(995, 1000)), (500, 1, slice(500, 501)), (1000, 10, slice(0, 0))],
    )
    def test_a_range_is_what_stands_there(self, store: ObjectStore, start: int, length: int, found: slice) -> None:
        body = bytes(number % 251 for number in range(1000))
        store.put("a", body, "text/plain")
        assert store.get_range("a", start, length) == body[found]

    def test_a_range_of_a_missing_object_says_so(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound):
            store.get_range("missing", 0, 10)

    @pytest.mark.parametrize("read", ["get", "head"])
    def test_reading_a_missing_object_says_so_at_once(self, store: ObjectStore, read: str) -> None:
        store.put("images/there", b"", "text/plain")
        for key in ("images/missing", "images", "images/there/below"):
            with pytest.raises(ObjectNotFound):
                getattr(store, read)(key)

    def test_a_missing_object_cannot_be_copied(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound):
            store.copy("missing", "target")
        assert list(store.list()) == []

    def test_a_copy_keeps_bytes_and_type_and_leaves_the_original(self, store: ObjectStore) -> None:
        store.put("a b/ö", b"body", "image/x-own")
        store.copy("a b/ö", "c d/%41")
        assert store.get("c d/%41") == store.get("a b/ö") == b"body"
        assert store.head("c d/%41").content_type == "image/x-own"

    def test_deleting_is_safe_to_repeat(self, store: ObjectStore) -> None:
        for key in ("a", "b", "c"):
            store.put(key, b"", "text/plain")
        store.delete(["a", "b", "missing", "no/such/folder"])
        store.delete(["a"])
        store.delete([])
        assert [info.key for info in store.list()] == ["c"]

    def test_any_number_of_objects_is_deleted_in_one_go(self, store: ObjectStore) -> None:
        store.put("kept", b"", "text/plain")
        store.put("n/1500", b"", "text/plain")
        store.delete(f"n/{number}" for number in range(1, 2001))
        assert [info.key for info in store.list()] == ["kept"]

    def test_a_deleted_object_can_be_put_again(self, store: ObjectStore) -> None:
        store.put("a/b", b"old", "text/plain")
        store.delete(["a/b"])
        store.put("a/b", b"new", "text/plain")
        assert store.get("a/b") == b"new"

    def test_a_copy_takes_the_type_it_is_given(self, store: ObjectStore) -> None:
        store.put("a", b"1", "text/html")
        store.copy("a", "b", "image/png")
        store.copy("a", "c")
        assert [store.head(key).content_type for key in ("a", "b", "c")] == ["text/html", "image/png", "text/html"]

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_kept_exactly(self, store: ObjectStore, key: str) -> None:
        store.put(key, key.encode(), "text/plain")
        assert store.get(key) == key.encode()
        assert [info.key for info in store.list()] == [key]
        assert store.key_of(store.uri(key)) == key
        store.delete([key])
        assert list(store.list()) == []

    def test_keys_that_look_alike_are_different_objects(self, store: ObjectStore) -> None:
        keys = ["a", "A", "a/b", "a/b/c", "a~", "a.b", "é", "e\u0301", "%61", "a b", "a+b", "a%20b"]
        for key in keys:
            store.put(key, key.encode(), "text/plain")
        assert [info.key for info in store.list()] == sorted(keys)
        assert [store.get(key).decode() for key in keys] == keys

    @pytest.mark.parametrize("key", REFUSED_KEYS)
    def test_what_could_leave_the_bucket_is_no_key(self, store: ObjectStore, key: str) -> None:
        an_hour = timedelta(hours=1)
        for attempt in (
            lambda: store.put(key, b"", "text/plain"),
            lambda: store.get(key),
            lambda: store.get_range(key, 0, 1),
            lambda: store.head(key),
            lambda: store.delete([key]),
            lambda: store.copy(key, "a"),
            lambda: store.copy("there", key),
            lambda: store.presign_get(key, an_hour),
            lambda: store.uri(key),
        ):
            store.put("there", b"", "text/plain")
            with pytest.raises(ValueError):  # noqa: PT011 - any message will do
                attempt()
        assert [info.key for info in store.list()] == ["there"]

    def test_a_listing_goes_on_behind_a_key(self, store: ObjectStore) -> None:
        for key in ("images/a.jpg", "images/b.jpg", "images/b/c.jpg", "processed/a.jpg"):
            store.put(key, b"1", "image/jpeg")
        assert [entry.key for entry in store.list("", "images/b.jpg")] == ["images/b/c.jpg", "processed/a.jpg"]
        assert [entry.key for entry in store.list("images/", "images/a")] == [
            "images/a.jpg",
            "images/b.jpg",
            "images/b/c.jpg",
        ]
        assert list(store.list("images/", "images/b/c.jpg")) == []

    def test_a_listing_is_ordered_and_limited_to_its_prefix(self, store: ObjectStore) -> None:
        for key in ("b/1", "b/10", "b/2", "b", "b-1", "c/1", "a", "b/sub/x"):
            store.put(key, b"12", "text/plain")
        assert [info.key for info in store.list("b/")] == ["b/1", "b/10", "b/2", "b/sub/x"]
        assert [info.key for info in store.list("b/1")] == ["b/1", "b/10"]
        assert [info.key for info in store.list("b")] == ["b", "b-1", "b/1", "b/10", "b/2", "b/sub/x"]
        assert list(store.list("missing/")) == list(store.list("b/1/")) == []
        assert {info.size_bytes for info in store.list()} == {2}

    @pytest.mark.parametrize("prefix", ["../", "/", "a/../", "../tenant-other/", "a//"])
    def test_a_prefix_cannot_lead_out_of_the_bucket(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="not a key"):
            list(store.list(prefix))

    def test_two_buckets_never_see_each_other(self, new_store: Callable[[str], ObjectStore]) -> None:
        acme, other = new_store("tenant-acme"), new_store("tenant-acme-2")
        acme.put("images/a", b"acme", "text/plain")
        other.put("images/a", b"other", "text/plain")
        other.put("images/b", b"other", "text/plain")

        acme.delete(["images/b"])

        assert (acme.get("images/a"), other.get("images/a")) == (b"acme", b"other")
        assert [info.key for info in acme.list()] == ["images/a"]
        assert [info.key for info in other.list()] == ["images/a", "images/b"]

    def test_a_uri_names_scheme_bucket_and_key(self, store: ObjectStore) -> None:
        root = store.uri("x").removesuffix("/x")
        assert root.startswith(("s3://tenant-acme", "nfs://tenant-acme", "azure://tenant-acme"))
        assert store.uri("images/a b?.jpg") == f"{root}/images/a%20b%3F.jpg"
        assert (
            store.key_of(f"{root}/images/a%20b%3f.jpg") == store.key_of(f"{root}/images/a b?.jpg") == "images/a b?.jpg"
        )

    @pytest.mark.parametrize(
        "change",
        [
            lambda uri: uri.replace("tenant-acme", "tenant-other"),
            lambda uri: uri.replace("tenant-acme", "tenant-acme-2"),
            lambda uri: uri.replace("://", "s://"),
            lambda uri: uri.replace("images", ".."),
            lambda uri: uri.replace("images", "%2e%2e"),
            lambda uri: uri.replace("images", "%2E%2e%2Fother"),
            lambda uri: uri.replace("images", "%FF"),
            lambda uri: uri.replace("images/", "/"),
            lambda uri: uri.replace("images/photo.jpg", ""),
            lambda uri: uri.partition("/images")[0],
            lambda uri: uri.replace("tenant-acme", "tenant-acme@evil"),
            lambda uri: uri.replace("tenant-acme", "ten\nant-acme"),
            lambda uri: "file:///etc/passwd",
            lambda uri: "/images/photo.jpg",
            lambda uri: "",
        ],
    )
    def test_a_uri_of_elsewhere_is_an_invalid_event(self, store: ObjectStore, change: Callable[[str], str]) -> None:
        with pytest.raises(InvalidEvent):
            store.key_of(change(store.uri("images/photo.jpg")))

    def test_ensure_is_safe_to_repeat_and_keeps_what_is_there(self, store: ObjectStore) -> None:
        store.put("a", b"kept", "text/plain")
        store.ensure()
        assert store.get("a") == b"kept"

    def test_readers_see_the_old_or_the_new_object_never_a_part(self, store: ObjectStore) -> None:
        bodies = [bytes([value]) * 200_000 for value in range(6)]
        store.put("a", bodies[0], "text/plain")
        done = threading.Event()

        def read() -> set[bytes]:
            seen = set()
            while not done.is_set():
                seen.add(store.get("a"))
            return seen

        with ThreadPoolExecutor(6) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            for _ in range(4):
                list(pool.map(lambda body: store.put("a", body, "text/plain"), bodies))
            done.set()
            seen = set().union(*(reader.result() for reader in readers))

        assert seen <= set(bodies)
        assert store.get("a") in bodies
        assert [info.key for info in store.list()] == ["a"]


class BucketOwnerSuite:
    """Two installations meet in one bucket. Subclasses give ``opened(installation)``, all of one bucket not yet there,
    and ``forget_mark``, which leaves a bucket as installations made it before buckets were marked."""

    def forget_mark(self, store: ObjectStore) -> None:
        raise NotImplementedError

    @pytest.fixture
    def first(self, opened: Opened) -> ObjectStore:
        """The installation that made the bucket, with an original in it."""
        store = opened("first/region:stack-a")
        store.ensure()
        store.put("images/img_first.jpg", b"original", "image/jpeg")
        return store

    def test_the_installation_that_made_a_bucket_owns_it(self, first: ObjectStore) -> None:
        first.require_ours()
        first.ensure()
        first.require_ours()

    def test_another_installation_is_refused_the_bucket(self, first: ObjectStore, opened: Opened) -> None:
        second = opened("second")
        for attempt in (second.ensure, second.require_ours, second.remove, second.adopt):
            with pytest.raises(StoreNotOwned) as refused:
                attempt()
            assert refused.value.found == "first/region:stack-a"
            assert "stack-a" not in str(refused.value)
        assert first.get("images/img_first.jpg") == b"original"
        first.require_ours()

    def test_a_sweep_of_another_installation_deletes_nothing(self, first: ObjectStore, opened: Opened) -> None:
        second, later = opened("second"), datetime.now(UTC) + timedelta(days=1)
        dry = list(sweep_of(second).objects(ACME, "", later, True))
        assert [page.report.found for page in dry] == [{"object-without-row": 1}]
        with pytest.raises(StoreNotOwned):
            list(sweep_of(second).objects(ACME, "", later, False))
        assert first.get("images/img_first.jpg") == b"original"

    def test_a_sweep_of_the_owner_deletes_what_no_row_names(self, first: ObjectStore) -> None:
        list(sweep_of(first).objects(ACME, "", datetime.now(UTC) + timedelta(days=1), False))
        assert list(first.list()) == []

    def test_an_unmarked_bucket_is_nobodys_until_an_operator_adopts_it(
        self, first: ObjectStore, opened: Opened
    ) -> None:
        self.forget_mark(first)
        for attempt in (first.ensure, first.require_ours, first.remove):
            with pytest.raises(StoreNotOwned, match="deeplens tenants adopt") as refused:
                attempt()
            assert refused.value.found is None
        assert first.get("images/img_first.jpg") == b"original"
        first.adopt()
        first.ensure()
        first.require_ours()
        with pytest.raises(StoreNotOwned):
            opened("second").adopt()

    def test_a_mark_is_replaced_only_by_its_name(self, first: ObjectStore, opened: Opened) -> None:
        second = opened("second")
        with pytest.raises(StoreNotOwned):
            second.adopt(replacing="third")
        second.adopt(replacing="first/region:stack-a")
        second.require_ours()
        with pytest.raises(StoreNotOwned):
            first.require_ours()

    def test_without_an_installation_id_nothing_is_made_or_removed(self, first: ObjectStore, opened: Opened) -> None:
        nameless = opened("")
        for attempt in (nameless.ensure, nameless.require_ours, nameless.remove):
            with pytest.raises(StoreUnavailable, match="INSTALLATION_ID"):
                attempt()
        assert first.get("images/img_first.jpg") == b"original"

    def test_an_emptied_bucket_is_removed_and_can_be_made_by_another(self, first: ObjectStore, opened: Opened) -> None:
        first.delete(["images/img_first.jpg"])
        first.remove()
        first.remove()
        opened("second").ensure()
        opened("second").require_ours()


def sweep_of(store: ObjectStore) -> Sweep:
    """An installation that has the tenant, and no image of it."""

    class Stores:
        def for_tenant(self, _: Tenant) -> ObjectStore:
            return store

    return Sweep(Stores(), FakeImages(), MagicMock(), MagicMock(), MagicMock())  # type: ignore[arg-type]


class TestMemoryStore(ObjectStoreSuite):
    @pytest.fixture
    def new_store(self) -> Callable[[str], ObjectStore]:
        return lambda bucket: MemoryStore(f"s3://{bucket}")


class TestDirectoryStore(ObjectStoreSuite):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[str], ObjectStore]:
        def new(bucket: str) -> ObjectStore:
            store = directory_of(tmp_path / bucket, "ours")
            store.ensure()
            return store

        return new


class TestOwnerOfDirectory(BucketOwnerSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return lambda installation: directory_of(tmp_path / "tenant-acme", installation)

    def forget_mark(self, store: ObjectStore) -> None:
        assert isinstance(store, DirectoryStore)
        (store._share / store._path / MARK).unlink()

    def test_a_folder_is_made_with_its_mark_or_not_at_all(
        self, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "died")))
            with pytest.raises(StoreUnavailable):
                opened("first").ensure()
        assert list(tmp_path.iterdir()) == []
        opened("first").ensure()
        opened("first").require_ours()

    def test_of_two_that_make_a_folder_at_once_one_owns_it(self, opened: Opened) -> None:
        def made(installation: str) -> bool:
            try:
                opened(installation).ensure()
            except StoreNotOwned:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            names = [f"installation-{number}" for number in range(8)]
            assert sum(pool.map(made, names)) == 1


def directory_of(folder: Path, installation: str) -> DirectoryStore:
    root = f"nfs://{folder.name}"
    return DirectoryStore(folder, root, "http://api.example", "secret", installation=installation)
