"""Start child processes, wait until they are ready, and stop them with all their descendants."""

import errno
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, ClassVar, Protocol
from urllib.request import ProxyHandler, build_opener

import psutil

# Below the ephemeral ports: a client that keeps connecting to a stopped broker could otherwise get the broker's port as
# its source port, connect to itself, and so keep the broker from starting again.
FREE_PORTS = range(15_000, 32_000)
_reserved_ports: set[int] = set()


class ServiceFailed(Exception):
    """A service did not start, or a command failed; the message says what happened and what to do next."""


class Service(Protocol):
    """A service of the platform. ``environment`` holds the variables that functions need to reach it."""

    name: ClassVar[str]
    environment: dict[str, str]
    log_path: Path

    def prepare(self) -> None:
        """Fetch the service's files, once per checkout; the first time may take minutes."""

    def launch(self) -> None:
        """Start the process and return. The calling thread must outlive it: the kernel ends it with that thread."""

    def wait_ready(self) -> None:
        """Return when the service answers; raise ``ServiceFailed`` if it does not."""

    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def alive(self) -> bool: ...


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on, and that no living process of this user was given by this function."""
    for _ in range(1000):
        port = FREE_PORTS[secrets.randbelow(len(FREE_PORTS))]
        with suppress(OSError):
            _try_port(host, port)
            if _reserve(port):
                return port
    raise ServiceFailed(f"no port of {host} from {FREE_PORTS.start} to {FREE_PORTS.stop - 1} is free")


def _reserve(port: int) -> bool:
    """Lock the port's byte of a file that all processes share; raise ``OSError`` if another one has it.

    The service may bind its port much later, and a second stack must not be given it meanwhile.
    """
    if port in _reserved_ports:
        return False
    fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    _reserved_ports.add(port)
    return True


@cache
def _reservations() -> IO[bytes]:
    """Open for the life of the process: closing the file would give up its locks."""
    return (Path(tempfile.gettempdir()) / f"deeplens-ports-{os.getuid()}.lock").open("ab")


def require_port(name: str, host: str, port: int, setting: str) -> None:
    """Raise ``ServiceFailed`` if the port is in use; the message names the process and how to choose another port."""
    try:
        _try_port(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is taken{_holder(port)}. Stop it, or choose"
        else:
            problem = f"port {port} of {host} cannot be used: {error.strerror}. Choose"
        raise ServiceFailed(f"{name}: {problem} another with {setting}=PORT.") from None


def _try_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _holder(port: int) -> str:
    # Some systems show other users' connections to root only, and the process may end meanwhile.
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN" and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def http_ok(url: str) -> bool:
    """Return whether ``url`` on this machine answers 200, without a proxy."""
    with build_opener(ProxyHandler({})).open(url, timeout=2) as response:
        return bool(response.status == 200)


class ChildService:
    """Base of all services: one child process with a log, a readiness probe and a time limit for its stop."""

    name: ClassVar[str] = "service"
    start_seconds: ClassVar[float] = 60
    stop_seconds: ClassVar[float] = 10
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, log_dir: Path) -> None:
        self.log_path = log_dir / f"{self.name}.log"
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._probe_error = ""

    def prepare(self) -> None:
        return

    def launch(self) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it is launched")

    def answers(self) -> bool:
        """Probe the service once; exceptions count as False."""
        raise TypeError(f"{type(self).__name__} does not say when it is ready")

    def start(self) -> None:
        self.prepare()
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not self.ready():
            if not self.alive():
                raise ServiceFailed(f"{self.name} ended while starting. {self._log_tail()}")
            if time.monotonic() > deadline:
                problem = f"did not answer within {self.start_seconds:.0f} s{self._probe_error}"
                raise ServiceFailed(f"{self.name} {problem}. {self._log_tail()}")
            time.sleep(0.05)

    def ready(self) -> bool:
        """Return whether the service answers now."""
        try:
            return self.answers()
        except Exception as error:
            self._probe_error = f" ({type(error).__name__}: {error})"
            return False

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def died(self) -> bool:
        """Return whether the process ended other than by ``stop`` or ``kill``."""
        return self._process is not None and self._process.poll() is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop(self) -> None:
        self._end(self.stop_signal, self.stop_seconds)

    def kill(self) -> None:
        self._end(signal.SIGKILL, 5)

    def _end(self, with_signal: int, seconds: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_group(process, with_signal, seconds)

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: int | None = None,
    ) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            try:
                self._process = spawn_child(command, log.fileno(), env=env, cwd=cwd, user=user)
            except OSError as error:
                raise ServiceFailed(
                    f"{self.name}: {command[0]} cannot be run: {error.strerror}. "
                    "If it is in the folder of tools, delete it there and start again."
                ) from None

    def _log_tail(self, lines: int = 12) -> str:
        try:
            with self.log_path.open(errors="replace") as log:
                tail = "".join(deque(log, lines))
        except OSError:
            return ""
        return f"The end of {self.log_path}:\n{tail}"


def spawn_child(
    command: Sequence[str | Path],
    output: int,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
    inherit: bool = True,
    nice: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a process in its own group. The kernel kills it when the calling thread ends.

    ``inherit`` says whether ``env`` adds to this process's environment or replaces it; ``nice`` lowers its priority.
    """
    if shutil.which(str(command[0])) is None:
        raise FileNotFoundError(errno.ENOENT, "no such program")
    return subprocess.Popen(
        [*_nice_prefix(nice), *_parent_death_prefix(), *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=(dict(os.environ) if inherit else {}) | dict(env or {}),
        cwd=cwd,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def _nice_prefix(nice: int) -> list[str]:
    return [_tool("nice"), "-n", str(nice)] if nice else []


def _parent_death_prefix() -> list[str]:
    """Return the command that requests a signal at the parent's death and then executes the rest of its arguments.

    A ``preexec_fn`` could deadlock: Python may wait between fork and exec for a lock that another thread held.
    """
    if sys.platform != "linux":
        return []
    return [_tool("setpriv"), "--pdeathsig", "KILL", "--"]


def _tool(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), os.defpath)))
    if path is None:
        raise ServiceFailed(f"{name} is missing; it comes with coreutils or util-linux. Install it and start again.")
    return path


def end_group(process: subprocess.Popen[bytes], with_signal: int, seconds: float) -> None:
    """Signal the process group and wait; after ``seconds`` kill the rest of it and all descendants."""
    descendants = _descendants(process.pid)
    _signal_group(process, with_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _signal_group(process, signal.SIGKILL)
    process.wait(5)
    # PostgreSQL's sessions have their own groups; a busy one outlives the server and keeps the next from starting.
    for descendant in descendants:
        with suppress(psutil.Error):
            descendant.kill()
    deadline = time.monotonic() + 5
    while not all(map(_has_ended, descendants)) and time.monotonic() < deadline:
        time.sleep(0.005)


def _descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _signal_group(process: subprocess.Popen[bytes], with_signal: int) -> None:
    try:
        os.killpg(process.pid, with_signal)
    except ProcessLookupError:
        return
