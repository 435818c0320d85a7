"""Functions for a sandbox's child that do what a decoder does once a file has taken it over.

Only tests name this module to a sandbox; production has no hook.
"""

import ctypes
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deeplens.errors import ImageCorrupt, TransientError
from deeplens.imaging import child
from deeplens.imaging.limits import Limits
from deeplens.imaging.model import Header, Standardised
from deeplens.imaging.region import WHOLE, Box
from deeplens.sandbox import wire

CRASH, HANG, GREEDY = b"#crash#", b"#hang#", b"#greedy#"
"""At the end of a picture: what it does to its decoder."""
LIBC = ctypes.CDLL(None, use_errno=True)
seen: list[int] = []


def standardise(body: bytes, limits: Limits) -> Standardised:
    suffer(body)
    return child.standardise(body, limits)


def inspect(body: bytes, limits: Limits) -> Header:
    suffer(body)
    return child.inspect(body, limits)


def standard_jpeg(body: bytes, limits: Limits, part: Box = WHOLE) -> bytes:
    suffer(body)
    return child.standard_jpeg(body, limits, part)


def suffer(body: bytes) -> None:
    if body.endswith(CRASH):
        crash()
    if body.endswith(HANG):
        hang()
    if body.endswith(GREEDY):
        grow()


def crash(*_: Any) -> None:
    ctypes.string_at(0)


def hang(*_: Any) -> None:
    time.sleep(3600)


def grow(*_: Any) -> None:
    bytearray(4 << 30)


def crash_the_second_time(_: bytes) -> int:
    """Unless the child is a new one."""
    seen.append(1)
    return crash() or 0 if len(seen) > 1 else len(seen)


def corrupt(_: bytes) -> None:
    raise ImageCorrupt("cut off")


def foreign_error(_: bytes) -> None:
    """An error that would have the record tried again for days."""
    raise TransientError("try again")


def secret_error(_: bytes) -> None:
    raise ValueError("a message that quotes the file")


def wrong_type(_: bytes) -> str:
    return "no number"


def too_many(_: bytes) -> Iterator[int]:
    yield from (1, 2)


def forged(_: bytes) -> None:
    """An answer that claims four gigabytes."""
    os.write(3, wire.ANSWER.pack(wire.ITEM, 10, 2**32 - 1))
    hang()


def endless(_: bytes) -> Iterator[int]:
    while True:
        yield 1


def nested(_: bytes) -> None:
    """JSON that is too deep to be parsed."""
    os.write(3, wire.ANSWER.pack(wire.ITEM, 60_000, 0) + b"[" * 60_000)
    hang()


def torn_error(_: bytes) -> None:
    os.write(3, wire.ANSWER.pack(wire.ERROR, 2, 0) + b"[]")
    hang()


def printed(_: bytes) -> int:
    os.write(1, b"not an answer")
    os.write(2, b"not an answer")
    return 7


def echoes(ranges: Any, size_bytes: int) -> Iterator[bytes]:
    for start in range(0, size_bytes, 4):
        yield ranges.get_range("", start, 4)


def reads_for_ever(ranges: Any, pause_seconds: float) -> None:
    """Never silent, and never done."""
    while True:
        ranges.get_range("", 0, 1)
        time.sleep(pause_seconds)


def answers_for_ever(_: Any, pause_seconds: float) -> Iterator[int]:
    while True:
        yield 1
        time.sleep(pause_seconds)


def greedy_range(ranges: Any) -> None:
    ranges.get_range("", -5, 10)


def told(_: bytes) -> bytes:
    """What the child has been given."""
    return json.dumps({"environment": sorted(os.environ), "arguments": len(seen)}).encode()


def attempts(_: bytes, parent: int, folder: str) -> bytes:
    """What the child can reach: each attempt, and what came of it."""
    actions: dict[str, Callable[[], Any]] = {
        "read a file": Path("/etc/passwd").read_bytes,
        "read the parent's environment": Path(f"/proc/{parent}/environ").read_bytes,
        "write a file": lambda: Path(folder, "written").write_text("x"),
        "list a folder": lambda: list(Path(folder).iterdir()),
        "look at a file": Path("/etc/passwd").stat,
        "connect": lambda: socket.socket().connect(("127.0.0.1", 1)),
        "talk to a local socket": lambda: socket.socket(socket.AF_UNIX),
        "start a program": lambda: os.execv("/bin/true", ["true"]),
        "start a process": os.fork,
        "start a shell": lambda: subprocess.run(["true"], check=True),
        "signal the parent": lambda: os.kill(parent, 0),
        "open a pipe": os.pipe,
        "copy a descriptor": lambda: os.dup(0),
        "trace the parent": lambda: _called(LIBC.ptrace(16, parent, 0, 0)),
        "read the parent's memory": lambda: _called(LIBC.process_vm_readv(parent, 0, 0, 0, 0, 0)),
        "map a file": lambda: _called(LIBC.memfd_create(b"x", 0)),
        "make a namespace": lambda: _called(LIBC.unshare(0x10000000)),
        "lift its limits": lambda: __import__("resource").setrlimit(7, (100, 100)),
    }
    return json.dumps({name: _outcome(action) for name, action in actions.items()}).encode()


def _called(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _outcome(action: Callable[[], Any]) -> str:
    try:
        action()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return "allowed"
