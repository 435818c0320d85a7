"""A tenant that replaces what is in its share by links, pipes or deep folders reaches nothing of anybody else's."""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from deeplens.egress.rules import EgressRules
from deeplens.errors import ObjectNotFound, PipelineError, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.directory import SUFFIX
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import StoreMode, TenantStore
from deeplens.stores.resolver import OpenStores

KEY, OURS, SECRET = "2026/a.jpg", b"ours", b"another tenant's bytes"
SWAPPED = ["photos", "photos/scans", "photos/scans/2026", "photos/scans/2026/a.jpg"]
"""The registered directory, its parent, a folder of it, and a file."""
MODES: list[StoreMode] = ["reference", "managed"]
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def share(tmp_path: Path) -> Path:
    for tenant, body in (("tenant_acme", OURS), ("tenant_other", SECRET)):
        folder = tmp_path / tenant / "photos" / "scans" / "2026"
        folder.mkdir(parents=True)
        for suffix in ("", SUFFIX):
            (folder / f"a.jpg{suffix}").write_bytes(body)
    for suffix in ("", SUFFIX):
        (folder / f"theirs.jpg{suffix}").write_bytes(SECRET)
    return tmp_path


def opened(share: Path, mode: StoreMode = "reference", container: str = "photos/scans") -> ObjectStore:
    store = TenantStore("sto_a", "tenant_acme", "nfs", mode, container, datetime(2026, 11, 20, tzinfo=UTC))
    return OpenStores(Settings(tenant_nfs_root=share), unused, unused, EgressRules()).open(store)


def unused() -> Any:
    pytest.fail("asked for registrations or secrets")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def link_of(share: Path, swapped: str, mode: StoreMode) -> tuple[Path, Path]:
    """Return what the tenant replaces, and where its link leads."""
    name = swapped + (SUFFIX if mode == "managed" and swapped.endswith(".jpg") else "")
    return share / "tenant_acme" / name, share / "tenant_other" / name


def everything(store: ObjectStore, mode: StoreMode) -> list[bytes | str | int]:
    """Do all that a store does; return what was read."""
    read: list[bytes | str | int] = []
    attempts: list[Callable[[], object]] = [
        lambda: read.append(store.get(KEY)),
        lambda: read.append(store.get_range(KEY, 0, 100)),
        lambda: read.append(store.head(KEY).size_bytes),
        lambda: [read.extend((entry.key, entry.size_bytes)) for entry in store.list("2026/")],
        lambda: [read.extend((entry.key, entry.size_bytes)) for entry in store.list()],
    ]
    if mode == "managed":
        attempts += [
            lambda: store.put(KEY, OURS, "image/jpeg"),
            lambda: store.copy(KEY, "2026/copy.jpg"),
            lambda: store.put("2026/new/b.jpg", OURS, "image/jpeg"),
            lambda: store.delete(["2026/theirs.jpg", "2026/copy.jpg", "2026/new/b.jpg"]),
        ]
    for attempt in attempts:
        with suppress(PipelineError):
            attempt()
    return read


def stolen(read: list[bytes | str | int]) -> list[bytes | str | int]:
    return [found for found in read if found in (SECRET, len(SECRET), "2026/theirs.jpg")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("swapped", SWAPPED)
def test_a_link_that_replaces_what_was_registered_leads_nowhere(share: Path, swapped: str, mode: StoreMode) -> None:
    store = opened(share, mode)
    assert store.get(KEY) == OURS
    before = contents(share / "tenant_other")
    name, target = link_of(share, swapped, mode)
    name.rename(name.with_name("aside"))
    name.symlink_to(target)

    with pytest.raises(TenantStoreDenied, match="symbolic link") as refused:
        store.get(KEY)

    assert refused.value.reason == "Outside"
    assert stolen(everything(store, mode)) == []
    assert contents(share / "tenant_other") == before


@contextmanager
def swapping(name: Path, target: Path) -> Iterator[None]:
    """Exchange a name and a link, atomically and as often as possible."""
    link, stop, libc = name.with_name("link"), Event(), ctypes.CDLL(None)
    link.symlink_to(target)

    def swap() -> None:
        while not stop.is_set():
            libc.renameat2(AT_FDCWD, bytes(link), AT_FDCWD, bytes(name), RENAME_EXCHANGE)
            # A store that writes replaces the link.
            if not link.is_symlink() and not name.is_symlink():
                link.unlink()
                link.symlink_to(target)

    thread = Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("swapped", SWAPPED)
def test_a_link_between_check_and_use_leads_nowhere(share: Path, swapped: str, mode: StoreMode) -> None:
    store = opened(share, mode)
    before = contents(share / "tenant_other")
    reads: list[bytes | str | int] = []
    started = time.monotonic()

    with swapping(*link_of(share, swapped, mode)):
        # On a busy machine it may take a while until a read meets the file and not the link.
        while (waited := time.monotonic() - started) < 0.5 or (OURS not in reads and waited < 30):
            reads += everything(store, mode)

    assert stolen(reads) == []
    assert OURS in reads
    assert contents(share / "tenant_other") == before


def test_a_pipe_is_no_object_and_nobody_waits_for_it(share: Path) -> None:
    os.mkfifo(share / "tenant_acme" / "photos" / "scans" / "2026" / "pipe.jpg")
    store = opened(share)

    for attempt in (store.get, store.head):
        with pytest.raises(ObjectNotFound):
            attempt("2026/pipe.jpg")
    assert [entry.key for entry in store.list("2026/pipe")] == []


def test_folders_deeper_than_any_key_are_not_listed(share: Path) -> None:
    top = share / "tenant_acme" / "photos" / "scans"
    folder = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)

    assert [entry.key for entry in opened(share).list()] == [KEY, f"{KEY}{SUFFIX}"]
    # pytest's own cleaning would open all of them at once.
    subprocess.run(["rm", "-rf", top / "d"], check=True)
