"""How clients write to a store by themselves: one suite for the fake, the directory and, in tests/integration, S3."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from deeplens.errors import ObjectNotFound
from deeplens.events.bucket import ObjectLocation
from deeplens.storage.directory import DirectoryStore
from deeplens.storage.ports import FormPost, ObjectStore, PartUrl
from deeplens.storage.ports import Part as SentPart
from deeplens.uploads.model import part_bytes_of, part_sizes, wrong_parts

from local.runner.object_urls import ObjectUrls
from tests.fakes.storage import MemoryStore

AN_HOUR = timedelta(hours=1)
KEY = "uploads/upl_a"
FIVE_MIB = 5 << 20
"""S3's least for all parts but the last."""


class ClientUploadsSuite:
    """What the API relies on. ``send_form`` and ``send_part`` do what a client does; they tell whether it was taken."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    def send_form(self, store: Any, form: FormPost, body: bytes) -> bool:
        raise NotImplementedError

    def send_part(self, store: Any, multipart_id: str, part: PartUrl, body: bytes) -> bool:
        raise NotImplementedError

    def test_a_form_takes_a_file_of_its_size(self, store: ObjectStore) -> None:
        form = store.uploads().form(KEY, 10, AN_HOUR)
        assert timedelta() < form.expires_at - datetime.now(UTC) <= AN_HOUR
        assert self.send_form(store, form, b"0123456789")
        assert store.get(KEY) == b"0123456789"
        assert self.send_form(store, form, b"again")
        assert store.get(KEY) == b"again"

    def test_a_form_takes_nothing_larger_and_nothing_empty(self, store: ObjectStore) -> None:
        form = store.uploads().form(KEY, 10, AN_HOUR)
        assert not self.send_form(store, form, b"0123456789+")
        assert not self.send_form(store, form, b"")
        with pytest.raises(ObjectNotFound):
            store.head(KEY)

    def test_parts_are_listed_replaced_and_joined_in_order(self, store: ObjectStore) -> None:
        uploads = store.uploads()
        multipart = uploads.begin(KEY)
        first, last = bytes([1]) * FIVE_MIB, b"end"
        for number, body in ((2, b"bad"), (1, first), (2, last)):
            url = uploads.part_url(KEY, multipart, number, len(body), AN_HOUR)
            assert (url.number, url.size_bytes) == (number, len(body))
            assert self.send_part(store, multipart, url, body)
        parts = uploads.parts(KEY, multipart)
        assert [(part.number, part.size_bytes) for part in parts] == [(1, FIVE_MIB), (2, 3)]
        with pytest.raises(ObjectNotFound):
            store.head(KEY)

        uploads.join(KEY, multipart, parts)

        assert store.get(KEY) == first + last
        assert [entry.key for entry in store.list()] == [KEY]

    def test_aborted_parts_are_gone_and_aborting_is_safe_to_repeat(self, store: ObjectStore) -> None:
        uploads = store.uploads()
        multipart = uploads.begin(KEY)
        assert self.send_part(store, multipart, uploads.part_url(KEY, multipart, 1, 1, AN_HOUR), b"1")
        for _ in range(2):
            uploads.abort(KEY, multipart)
        with suppress(ObjectNotFound):
            assert uploads.parts(KEY, multipart) == []
        assert list(store.list()) == []

    @pytest.mark.parametrize("key", ["", "../a", "/a", "a//b"])
    def test_what_could_leave_the_bucket_is_no_key(self, store: ObjectStore, key: str) -> None:
        uploads = store.uploads()
        for attempt in (
            lambda: uploads.form(key, 1, AN_HOUR),
            lambda: uploads.begin(key),
            lambda: uploads.part_url(key, "m", 1, 1, AN_HOUR),
            lambda: uploads.parts(key, "m"),
        ):
            with pytest.raises(ValueError):  # noqa: PT011 - any message will do
                attempt()


class TestMemoryUploads(ClientUploadsSuite):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore("s3://acme")

    def send_form(self, store: Any, form: FormPost, body: bytes) -> bool:
        if not 0 < len(body) <= int(form.fields["max"]):
            return False
        store.put(form.fields["key"], body, "application/octet-stream")
        return True

    def send_part(self, store: Any, multipart_id: str, part: PartUrl, body: bytes) -> bool:
        store.uploads().send_part(multipart_id, part.number, body)
        return True


class Gateway:
    """The runner's answers to signed URLs, without a socket."""

    def __init__(self, root: Path) -> None:
        self.notified: list[ObjectLocation] = []
        self._objects = ObjectUrls(root, "secret", self.notified.append)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = await self._objects.respond(scope, receive)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def request(self, method: str, url: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self)) as client:
                return await client.request(method, url, **request)

        return asyncio.run(ask())

    def post(self, form: FormPost, body: bytes, **changes: str) -> int:
        fields = {**form.fields, **changes}
        return self.request("POST", form.url, data=fields, files={"file": ("a", body)}).status_code


@pytest.mark.parametrize(
    ("wanted", "status", "body", "shown"),
    [
        ("", 200, b"0123456789", None),
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_a_signed_url_takes_ranges(tmp_path: Path, wanted: str, status: int, body: bytes, shown: str | None) -> None:
    store = DirectoryStore(tmp_path / "acme", "nfs://acme", "http://api.example", "secret", installation="ours")
    store.ensure()
    store.put("images/a.jpg", b"0123456789", "image/jpeg")
    url = store.presign_get("images/a.jpg", AN_HOUR)
    answer = Gateway(tmp_path).request("GET", url, headers={"Range": wanted} if wanted else {})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, body, shown)


class TestDirectoryUploads(ClientUploadsSuite):
    @pytest.fixture
    def gateway(self, tmp_path: Path) -> Gateway:
        return Gateway(tmp_path)

    @pytest.fixture
    def store(self, tmp_path: Path, gateway: Gateway) -> ObjectStore:
        self._gateway = gateway
        store = DirectoryStore(tmp_path / "acme", "nfs://acme", "http://api.example", "secret", installation="ours")
        store.ensure()
        return store

    def send_form(self, store: Any, form: FormPost, body: bytes) -> bool:
        return self._gateway.post(form, body) == 204

    def send_part(self, store: Any, multipart_id: str, part: PartUrl, body: bytes) -> bool:
        return self._gateway.request("PUT", part.url, content=body).status_code == 204

    def test_a_new_upload_is_notified_of_and_a_part_is_not(self, store: ObjectStore, gateway: Gateway) -> None:
        uploads = store.uploads()
        multipart = uploads.begin(KEY)
        self.send_part(store, multipart, uploads.part_url(KEY, multipart, 1, 1, AN_HOUR), b"1")
        assert gateway.notified == []
        self.send_form(store, uploads.form(KEY, 1, AN_HOUR), b"1")
        assert gateway.notified == [ObjectLocation("deeplens:nfs", "acme", KEY)]

    @pytest.mark.parametrize(
        "change",
        [
            {"key": "images/img_a.jpg"},
            {"key": "uploads/upl_b"},
            {"key": "../other/uploads/upl_a"},
            {"key": ""},
            {"limit": "99"},
            {"expires": "99999999999"},
            {"signature": "0"},
        ],
        ids=str,
    )
    def test_a_changed_form_is_refused(self, store: ObjectStore, gateway: Gateway, change: dict[str, str]) -> None:
        form = store.uploads().form(KEY, 10, AN_HOUR)
        assert gateway.post(form, b"1", **change) == 403
        assert (list(store.list()), gateway.notified) == ([], [])

    def test_expired_forms_and_urls_are_refused(self, store: ObjectStore, gateway: Gateway) -> None:
        uploads, past = store.uploads(), timedelta(seconds=-5)
        assert gateway.post(uploads.form(KEY, 10, past), b"1") == 403
        assert gateway.request("PUT", uploads.part_url(KEY, "m", 1, 1, past).url, content=b"1").status_code == 403

    def test_a_part_larger_than_signed_is_refused(self, store: ObjectStore, gateway: Gateway) -> None:
        url = store.uploads().part_url(KEY, "m", 1, 3, AN_HOUR).url
        assert gateway.request("PUT", url, content=b"1234").status_code == 400
        assert gateway.request("PUT", url.replace("limit=3", "limit=4"), content=b"1234").status_code == 403
        assert gateway.request("PUT", url.replace("&limit=3", ""), content=b"1234").status_code == 403
        assert list(store.list()) == []

    def test_what_is_no_form_is_refused(self, store: ObjectStore, gateway: Gateway) -> None:
        url = store.uploads().form(KEY, 10, AN_HOUR).url
        assert gateway.request("POST", url, content=b"1").status_code == 400
        assert gateway.request("POST", url, data={"key": KEY}).status_code == 400
        assert gateway.request("DELETE", f"{url}/{KEY}").status_code == 403


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, None), (16 << 20, None), ((16 << 20) + 1, 8 << 20), (8000 << 20, 8 << 20), ((8000 << 20) + 1, 9 << 20)],
)
def test_large_files_are_sent_in_a_thousand_parts_at_most(size: int, expected: int | None) -> None:
    assert part_bytes_of(size) == expected
    assert expected is None or len(part_sizes(size, expected)) <= 1000


@pytest.mark.parametrize(
    ("sizes", "wrong"),
    [
        ({1: 4, 2: 4, 3: 2}, []),
        ({}, [1, 2, 3]),
        ({1: 4, 3: 2}, [2]),
        ({1: 4, 2: 3, 3: 2}, [2]),
        ({1: 4, 2: 4, 3: 3}, [3]),
        ({1: 4, 2: 4, 3: 2, 4: 1}, [4]),
    ],
)
def test_parts_that_are_not_as_declared_are_named(sizes: dict[int, int], wrong: list[int]) -> None:
    assert wrong_parts(10, 4, [SentPart(number, size, "") for number, size in sizes.items()]) == wrong
