"""A file that takes over its decoder: it reaches nothing, and only its own record fails."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deeplens.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimeout,
    ImageCorrupt,
    InvalidImage,
    StoreUnavailable,
    TransientError,
)
from deeplens.sandbox.confine import MACHINES, filter_program
from deeplens.sandbox.sandbox import Sandbox

from tests.harness import hostile

HOSTILE = hostile.__name__
FILE = b"a file"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(HOSTILE, 512 << 20, 2, [InvalidImage], {})
    yield made
    made.close()


def call(sandbox: Sandbox, function: str, kind: type = int, *arguments: object) -> object:
    return sandbox.call(kind, function, FILE, *arguments)


def test_a_decoder_that_was_taken_over_reaches_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    outcomes = json.loads(call(sandbox, "attempts", bytes, os.getpid(), str(tmp_path)))  # type: ignore[arg-type]
    assert {name for name, outcome in outcomes.items() if outcome == "allowed"} == set()
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_is_given_no_secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin:secret@host/db")
    kept, written = os.pipe()
    os.set_inheritable(kept, True)
    try:
        other = Sandbox(HOSTILE, 512 << 20, 2, [InvalidImage], {})
        told = json.loads(call(other, "told", bytes))  # type: ignore[arg-type]
        descriptors = len(list(Path(f"/proc/{other.pid}/fd").iterdir()))
        other.close()
    finally:
        os.close(kept)
        os.close(written)
    assert told["environment"] in (["MALLOC_ARENA_MAX"], ["LC_CTYPE", "MALLOC_ARENA_MAX"])
    assert descriptors == 4, "two pipes, and nothing where output and errors go"


def test_the_kernel_filters_the_system_calls_of_the_child(sandbox: Sandbox) -> None:
    call(sandbox, "printed")
    status = Path(f"/proc/{sandbox.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status


def test_the_parent_cannot_be_dumped_or_read() -> None:
    code = (
        "import ctypes; from deeplens.sandbox.sandbox import Sandbox; Sandbox('json', 1 << 28, 2, [], {}); "
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    path = os.pathsep.join(filter(None, sys.path))
    with os.popen(f"PYTHONPATH={path} {sys.executable} -c {json.dumps(code)}") as answer:
        assert answer.read().strip() == "0"


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("crash", DecoderCrashed),
        ("hang", DecoderTimeout),
        ("grow", DecoderOutOfMemory),
        ("corrupt", ImageCorrupt),
        ("foreign_error", DecoderCrashed),
        ("secret_error", DecoderCrashed),
        ("wrong_type", DecoderCrashed),
        ("too_many", DecoderCrashed),
        ("forged", DecoderCrashed),
        ("endless", DecoderCrashed),
        ("nested", DecoderCrashed),
        ("torn_error", DecoderCrashed),
    ],
)
def test_whatever_a_file_does_its_caller_gets_one_error_and_the_next_file_its_result(
    sandbox: Sandbox, function: str, error: type[InvalidImage]
) -> None:
    started = time.monotonic()
    with pytest.raises(error) as raised:
        call(sandbox, function)
    assert time.monotonic() - started < 10
    assert not raised.value.retryable
    assert "quotes" not in str(raised.value)
    assert call(sandbox, "printed") == 7


def test_a_crash_that_an_earlier_file_may_have_caused_is_tried_in_a_new_process(sandbox: Sandbox) -> None:
    assert call(sandbox, "crash_the_second_time") == 1
    first = sandbox.pid
    assert call(sandbox, "crash_the_second_time") == 1
    assert sandbox.pid != first


def test_a_child_that_was_killed_while_it_was_idle_is_replaced(sandbox: Sandbox) -> None:
    call(sandbox, "printed")
    os.kill(sandbox.pid or 0, signal.SIGKILL)
    assert call(sandbox, "printed") == 7


def test_what_a_library_prints_is_no_answer(sandbox: Sandbox) -> None:
    assert call(sandbox, "printed") == 7


def test_a_file_is_read_in_ranges_through_the_parent(sandbox: Sandbox) -> None:
    body = b"twelve bytes"
    found = sandbox.stream(bytes, "echoes", lambda start, length: body[start : start + length], len(body))
    assert list(found) == [b"twel", b"ve b", b"ytes"]


def test_a_store_that_fails_is_not_the_files_fault(sandbox: Sandbox) -> None:
    def read(start: int, length: int) -> bytes:
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        list(sandbox.stream(bytes, "echoes", read, 12))
    assert call(sandbox, "printed") == 7


def test_the_parent_reads_no_range_that_does_not_exist(sandbox: Sandbox) -> None:
    with pytest.raises(DecoderCrashed):
        list(sandbox.stream(bytes, "greedy_range", lambda *_: pytest.fail("read")))


@pytest.mark.parametrize("function", ["reads_for_ever", "answers_for_ever"])
@pytest.mark.parametrize("pause_seconds", [0, 0.3], ids=["at once", "a trickle"])
def test_a_decoder_that_is_never_silent_ends_with_its_time(function: str, pause_seconds: float) -> None:
    sandbox = Sandbox(HOSTILE, 512 << 20, 1, [InvalidImage], {}, 2)
    call(sandbox, "printed")
    started = time.monotonic()
    with pytest.raises(DecoderTimeout):
        for _ in sandbox.stream(int, function, lambda _start, length: bytes(length), pause_seconds):
            pass
    assert time.monotonic() - started < 10
    assert call(sandbox, "printed") == 7
    sandbox.close()


def test_a_slow_consumer_takes_nothing_of_the_decoders_time() -> None:
    sandbox = Sandbox(HOSTILE, 512 << 20, 1, [InvalidImage], {})
    found = []
    for part in sandbox.stream(bytes, "echoes", lambda _start, length: bytes(length), 12):
        time.sleep(0.6)
        found.append(part)
    assert found == [bytes(4)] * 3
    sandbox.close()


def test_a_consumer_that_stops_in_the_middle_leaves_a_working_decoder(sandbox: Sandbox) -> None:
    found = sandbox.stream(bytes, "echoes", lambda start, length: bytes(length), 1 << 20)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert call(sandbox, "printed") == 7


def test_a_decoder_that_does_not_start_is_not_the_files_fault() -> None:
    with pytest.raises(TransientError, match="does not start"):
        Sandbox("no_such_module", 1 << 28, 2, [], {}).call(int, "y", FILE)


@pytest.mark.parametrize("machine", MACHINES)
def test_programs_of_other_machines_end_at_once(machine: str) -> None:
    program = filter_program(*MACHINES[machine])
    assert program[1:3] == [(0x15, 1, 0, MACHINES[machine][0]), (0x06, 0, 0, 0x80000000)]
    assert program[-1] == (0x06, 0, 0, 0x00050001)
