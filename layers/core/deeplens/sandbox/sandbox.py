"""The parent's side: one child process that decodes, started again when it ended."""

import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import fcntl
from itertools import islice
from threading import Lock
from typing import Any

from pydantic_core import from_json

from deeplens.errors import DecoderCrashed, DecoderOutOfMemory, DecoderTimeout, PipelineError, TransientError
from deeplens.sandbox import wire
from deeplens.sandbox.confine import hide_memory
from deeplens.telemetry.logs import logger

START = (
    "import sys; sys.path[:] = sys.argv[4:]; from deeplens.sandbox.child import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
)
START_SECONDS = 30
SET_PIPE_BYTES, PIPE_BYTES = 1031, 1 << 20
MAX_MESSAGE_CHARACTERS = 500
type ReadRange = Callable[[int, int], bytes]
type File = bytes | ReadRange
"""The file, or what reads so many bytes of it from a position."""


@dataclass(slots=True)
class _Process:
    """A child process and the pipes to it; ``ready`` once it has given up everything."""

    pid: int
    requests: int
    answers: int
    ready: bool = False


class Sandbox:
    """Runs functions on untrusted files in a child process, one at a time.

    The child is another program, so nothing of this process is in its memory. It has no environment, no descriptors
    but two pipes, and no system calls that reach anything else.

    Parameters
    ----------
    module : that the child imports at its start; it has the functions.
    memory_bytes : that the child may take beside what it starts with.
    seconds : that it may be silent while it works.
    errors : base classes of the errors that a function may raise.
    environment : variables for the child; only those that its interpreter needs to start.
    total_seconds : that one file may take, however often the child answers; by default ``seconds``. The time that the
        caller takes between two items does not count.
    """

    def __init__(
        self,
        module: str,
        memory_bytes: int,
        seconds: float,
        errors: Sequence[type[PipelineError]],
        environment: Mapping[str, str],
        total_seconds: float | None = None,
    ) -> None:
        self._module, self._memory_bytes, self._seconds = module, memory_bytes, seconds
        self._total_seconds = total_seconds or seconds
        # One arena: threads would otherwise reserve 64 MB of the limit each.
        self._environment = {"MALLOC_ARENA_MAX": "1"} | dict(environment)
        self._errors = {cls.code: cls for base in errors for cls in wire.subclasses(base)}
        self._lock = Lock()
        hide_memory()
        self._process: _Process | None = self._start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def call[T](self, kind: type[T], function: str, file: File, *arguments: Any) -> T:
        """Return what ``function(file, *arguments)`` returns, a ``kind``.

        Raises
        ------
        PipelineError
            One of ``errors``; ``DecoderCrashed`` and ``DecoderOutOfMemory``, each after a second attempt in a new
            child, as an earlier file may have harmed the first; ``DecoderTimeout``.
        TransientError
            No child can be started.
        """
        with self._lock:
            try:
                return self._single(kind, function, file, arguments)
            except (DecoderCrashed, DecoderOutOfMemory):
                self._end()
            return self._single(kind, function, file, arguments)

    def stream[T](self, kind: type[T], function: str, file: File, *arguments: Any) -> Generator[T]:
        """Yield what ``function(file, *arguments)`` yields. Raises as ``call`` does, but nothing is tried again.

        A child may answer for ever: take no more items than there can be.
        """
        with self._lock:
            yield from self._exchange(kind, function, file, arguments)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _single[T](self, kind: type[T], function: str, file: File, arguments: Sequence[Any]) -> T:
        # No more than what shows that there are too many: a child may answer for ever.
        found = list(islice(self._exchange(kind, function, file, arguments), 2))
        _require(len(found) == 1)
        return found[0]

    def _exchange[T](self, kind: type[T], function: str, file: File, arguments: Sequence[Any]) -> Iterator[T]:
        process, finished, left = self._ready(), False, self._total_seconds
        body = file if isinstance(file, bytes) else b""
        request = pickle.dumps((f"{self._module}:{function}", tuple(arguments)))
        try:
            size = len(body) if isinstance(file, bytes) else wire.RANGED
            self._send(process, wire.REQUEST.pack(len(request), size), request, body)
            while not finished:
                began = time.monotonic()
                tag, value, blob = self._answer(process, file, left)
                left -= time.monotonic() - began
                if tag == wire.ITEM:
                    yield _built(kind, value, blob)
                elif tag == wire.ERROR:
                    error = self._error(value)
                    # What broke, or ran out of memory, may be in any state.
                    finished = not isinstance(error, DecoderCrashed | DecoderOutOfMemory)
                    raise error
                else:
                    finished = tag == wire.END
                    _require(finished)
        finally:
            if not finished:
                self._end()

    def _answer(self, process: _Process, file: File, seconds: float) -> tuple[bytes, Any, bytes]:
        """The next answer, within ``seconds``; before it, the child is given the parts of the file that it asks for."""
        until = time.monotonic() + seconds
        while True:
            tag, value, blob = self._receive(process, min(self._seconds, until - time.monotonic()))
            if time.monotonic() > until:
                raise self._too_slow()
            if tag != wire.READ or isinstance(file, bytes):
                return tag, value, blob
            chunk = _read(file, value)
            self._send(process, wire.CHUNK.pack(len(chunk)), chunk)

    def _error(self, value: Any) -> PipelineError:
        if not (isinstance(value, list) and len(value) == 2):
            return _crashed()
        code, message = (str(part)[:MAX_MESSAGE_CHARACTERS] for part in value)
        return self._errors.get(code, DecoderCrashed)(message)

    def _start(self) -> _Process:
        (request_read, request_write), (answer_read, answer_write) = os.pipe(), os.pipe()
        path = [entry for entry in sys.path if entry]
        pid = os.posix_spawn(
            sys.executable,
            [
                *(sys.executable, "-I", "-S", "-c", START),
                *(str(self._memory_bytes), str(int(self._seconds) + 5), self._module, *path),
            ],
            self._environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, request_read, 0),
                (os.POSIX_SPAWN_DUP2, answer_write, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.close(request_read)
        os.close(answer_write)
        os.set_blocking(request_write, False)
        for pipe in (request_write, answer_read):
            # The default of 64 KB takes more switches; unprivileged users may have too many larger pipes.
            with suppress(OSError):
                fcntl(pipe, SET_PIPE_BYTES, PIPE_BYTES)
        return _Process(pid, request_write, answer_read)

    def _ready(self) -> _Process:
        """The child, started if there is none, once it has given up everything."""
        process = self._process = self._process or self._start()
        if not process.ready:
            try:
                tag, value, _ = self._receive(process, START_SECONDS)
            except PipelineError as error:
                tag, value = wire.ERROR, str(error)
            if tag != wire.READY:
                self._end()
                logger().error("decoder does not start", reason=value)
                raise TransientError("the decoder does not start; operators find the reason in the logs")
            process.ready = True
            if value is not True:
                logger().warning("decoder without system call filter", pid=process.pid)
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            os.close(process.requests)
            os.close(process.answers)

    def _send(self, process: _Process, *parts: bytes) -> None:
        until = time.monotonic() + self._seconds
        for part in parts:
            left = memoryview(part)
            while left:
                self._wait(process.requests, select.POLLOUT, until)
                try:
                    left = left[os.write(process.requests, left) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise _crashed() from None

    def _receive(self, process: _Process, seconds: float) -> tuple[bytes, Any, bytes]:
        until = time.monotonic() + seconds
        tag, text_bytes, blob_bytes = wire.ANSWER.unpack(self._take(process, wire.ANSWER.size, until))
        _require(text_bytes <= wire.MAX_JSON_BYTES and blob_bytes <= wire.MAX_BLOB_BYTES)
        text, blob = self._take(process, text_bytes, until), self._take(process, blob_bytes, until)
        try:
            return tag, from_json(text), blob
        except ValueError:
            raise _crashed() from None

    def _take(self, process: _Process, size: int, until: float) -> bytes:
        parts = []
        while size:
            self._wait(process.answers, select.POLLIN, until)
            part = os.read(process.answers, min(size, PIPE_BYTES))
            if not part:
                raise _crashed()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, pipe: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise self._too_slow()

    def _too_slow(self) -> DecoderTimeout:
        return DecoderTimeout(f"decoding the file takes more than {self._seconds:g} s; save it smaller")


def _crashed() -> DecoderCrashed:
    return DecoderCrashed("the file broke its decoder; open it in another program and save it again")


def _require(condition: bool) -> None:
    if not condition:
        raise _crashed()


def _built[T](kind: type[T], value: Any, blob: bytes) -> T:
    try:
        return wire.rebuild(kind, value, blob)
    except (TypeError, ValueError, OverflowError):
        raise _crashed() from None


def _read(read: ReadRange, value: Any) -> bytes:
    try:
        start, length = (int(part) for part in value)
    except (TypeError, ValueError, OverflowError):
        raise _crashed() from None
    _require(start >= 0 and 0 <= length <= wire.MAX_BLOB_BYTES)
    return read(start, length)
