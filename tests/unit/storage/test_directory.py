"""What is particular to directories: links, shares that are away, durability, content types."""

import errno
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from deeplens.errors import ObjectNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.storage import directory
from deeplens.storage.directory import DirectoryStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "share"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    made = DirectoryStore(root / "acme", "nfs://acme", "http://api.example", "secret", installation="ours")
    made.ensure()
    return made


def files_below(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != directory.MARK)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_a_link_does_not_lead_out_of_the_bucket(store: DirectoryStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret~").write_bytes(b"secret")
    (root / "acme" / "folder").symlink_to(outside)
    (root / "acme" / "file~").symlink_to(outside / "secret~")

    for key in ("folder/secret", "file"):
        for attempt in (store.get, store.head, lambda key: store.copy(key, "copy")):
            with pytest.raises(TenantStoreDenied, match="symbolic link"):
                attempt(key)
    for attempt in (lambda key: store.put(key, b"", "text/plain"), lambda key: store.delete([key])):
        with pytest.raises(TenantStoreDenied, match="symbolic link"):
            attempt("folder/secret")
    assert list(store.list()) == list(store.list("folder/")) == []
    store.put("file", b"ours", "text/plain")
    assert store.get("file") == b"ours"
    assert files_below(outside) == ["secret~"]
    assert (outside / "secret~").read_bytes() == b"secret"


def test_a_share_that_is_not_mounted_is_away_not_empty(store: DirectoryStore, root: Path) -> None:
    store.put("a", b"", "text/plain")
    shutil.rmtree(root)
    root.mkdir()

    for attempt in (
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.put("a", b"", "text/plain"),
        lambda: store.delete(["a"]),
        lambda: store.copy("a", "b"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreUnavailable):
            attempt()
    assert list(root.iterdir()) == []


def test_a_missing_bucket_among_others_belongs_to_its_tenant(store: DirectoryStore, root: Path) -> None:
    (root / "other").mkdir()
    shutil.rmtree(root / "acme")

    with pytest.raises(TenantStoreDenied):
        store.put("a", b"", "text/plain")
    with pytest.raises(TenantStoreDenied):
        store.get("a")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EACCES, TenantStoreDenied),
    ],
)
def test_a_failed_write_leaves_what_was_there(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    store.put("a", b"old", "text/plain")

    def fail(_: int) -> None:
        raise OSError(number, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(directory.os, "fsync", fail)
        with pytest.raises(expected):
            store.put("a", b"new", "text/plain")

    assert store.get("a") == b"old"
    assert files_below(root) == ["acme/a~"]


def test_a_body_that_breaks_off_is_not_stored(store: DirectoryStore, root: Path) -> None:
    class Breaking:
        def read(self, _: int = -1) -> bytes:
            raise RuntimeError("the client went away")

    with pytest.raises(RuntimeError):
        store.put("a", Breaking(), "text/plain")  # type: ignore[arg-type]

    assert files_below(root) == []
    with pytest.raises(ObjectNotFound):
        store.get("a")


def test_an_object_and_the_folders_made_for_it_are_on_disk_before_put_returns(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        written.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(root).as_posix())
        fsync(descriptor)

    monkeypatch.setattr(directory.os, "fsync", watched)
    store.put("x/y/a", b"body", "text/plain")

    assert written[:2] == ["acme", "acme/x"]
    assert written[2].startswith("acme/x/y/.writing-")
    assert written[3:] == ["acme/x/y"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [("images/a.jpg", "image/jpeg"), ("a.heic", "image/heic"), ("a.webp", "image/webp"), ("a.mp4", "video/mp4")],
)
def test_a_content_type_lost_in_copying_is_told_by_the_key(
    store: DirectoryStore, root: Path, key: str, expected: str
) -> None:
    store.put(key, b"", "application/x-own")
    file = root / "acme" / f"{key}~"
    file.write_bytes(b"")
    os.removexattr(file, directory.TYPE_ATTRIBUTE)

    assert store.head(key).content_type == expected


def test_files_that_are_no_objects_are_not_listed(store: DirectoryStore, root: Path) -> None:
    store.put("images/a", b"", "text/plain")
    (root / "acme" / "images" / ".writing-0123").write_bytes(b"left by a crash")
    (root / "acme" / ".nfs0001").write_bytes(b"")

    assert [info.key for info in store.list()] == ["images/a"]


def test_a_folder_that_cannot_be_read_does_not_look_empty(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("images/a", b"", "text/plain")

    def refuse(_: int) -> None:
        raise PermissionError(errno.EACCES, "injected")

    monkeypatch.setattr(directory.os, "scandir", refuse)
    with pytest.raises(TenantStoreDenied):
        list(store.list())


def test_signed_urls_name_the_bucket_and_the_key(store: DirectoryStore) -> None:
    url = store.presign_get("a b/ö", timedelta(minutes=1))
    assert url.startswith("http://api.example/_objects/acme/a%20b/%C3%B6?expires=")


def test_what_a_process_was_writing_when_it_died_is_removed_a_day_later(store: DirectoryStore, root: Path) -> None:
    store.put("images/.writing-mine", b"an object of this name", "text/plain")
    for name in (".writing-young", ".writing-old", "old.txt"):
        (root / "acme" / "images" / name).write_bytes(b"left")
    for name in (".writing-old", "old.txt", ".writing-mine~"):
        os.utime(root / "acme" / "images" / name, (0, time.time() - 2 * 86_400))

    assert [entry.key for entry in store.list()] == ["images/.writing-mine"]
    assert files_below(root / "acme" / "images") == [".writing-mine~", ".writing-young", "old.txt"]
