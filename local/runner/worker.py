"""Run function processes: awslambdaric with the template's environment, timeout and memory limit."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local.runner.logs import rotate
from local.runner.runtime_api import MAX_PAYLOAD_BYTES, Answer, Invocation, RuntimeApi
from local.runner.template import FunctionSpec, HttpEvent
from local.services.process import ServiceFailed, end_group, spawn_child

INIT_SECONDS = 60
FAULTY = Path(__file__).parents[1] / "chaos" / "faults.py"
CHECK_SECONDS = 0.1
"""Interval of the checks of a busy process: whether it is alive, and how much memory it uses."""
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
# The kernel ends a process with the thread that started it; this thread lives as long as the interpreter.
STARTER = ThreadPoolExecutor(1, thread_name_prefix="start functions")


@dataclass(frozen=True, slots=True)
class Result:
    """Result of an invocation. ``error`` is Lambda's error object; ``payload`` is None then."""

    payload: Any
    error: dict[str, Any] | None
    duration_ms: float

    @property
    def failed(self) -> bool:
        return self.error is not None


BACKGROUND_NICENESS = 10
"""Niceness of functions without HTTP routes. Lambda gives every function its own cores; one machine cannot."""


class Worker:
    """One process of a function, one invocation at a time. It is restarted after a crash or timeout."""

    def __init__(self, spec: FunctionSpec, environment: Mapping[str, str], log_path: Path, number: int = 0) -> None:
        self._spec, self._environment, self._log_path = spec, environment, log_path
        self._number, self.starts = number, 0
        self._api: RuntimeApi | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._retired = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def warm(self) -> Result | None:
        """Start the process and wait until its handler is imported; return the error if that fails."""
        if self.pid is not None:
            return None
        self.stop()
        if self._retired:
            return Result(None, {"errorType": "Runner.Stopped", "errorMessage": "the runner is stopping"}, 0)
        started = time.monotonic()
        region = self._environment.get("AWS_REGION", "us-east-1")
        self._api = api = RuntimeApi(f"arn:aws:lambda:{region}:000000000000:function:{self._spec.name}")
        self._process = process = STARTER.submit(self._spawn, api).result()
        while not api.ready.wait(0.02):
            timed_out = time.monotonic() - started > INIT_SECONDS
            if self._retired or timed_out or process.poll() is not None:
                return self._abort(api, "Runtime.InitError", "the function did not start; see its log", started)
        return None

    def invoke(self, payload: bytes, timeout_seconds: float) -> Result:
        failure = self.warm()
        if failure is not None or self._api is None or self._process is None:
            return failure or Result(None, {"errorType": "Runtime.InitError"}, 0)
        api, process, started = self._api, self._process, time.monotonic()
        api.invocations.put(Invocation(payload, time.time() + timeout_seconds))
        answer = self._await(api, process, started + timeout_seconds)
        if isinstance(answer, Answer):
            return _result(answer, started)
        kind, message = answer
        return self._abort(api, kind, message.format(seconds=timeout_seconds), started)

    def _await(self, api: RuntimeApi, process: subprocess.Popen[bytes], deadline: float) -> Answer | tuple[str, str]:
        """Return the answer, or an error: the process crashed, or exceeded its memory or its time."""
        while time.monotonic() < deadline:
            with suppress(queue.Empty):
                return api.answers.get(timeout=min(CHECK_SECONDS, max(0.001, deadline - time.monotonic())))
            if process.poll() is not None:
                return "Runtime.ExitError", f"Runtime exited with status {process.returncode}"
            if _resident_mb(process.pid) > self._spec.memory_mb:
                return "Runtime.OutOfMemory", f"the function used more than its {self._spec.memory_mb} MB"
        return "Sandbox.Timedout", "Task timed out after {seconds:.2f} seconds"

    def _abort(self, api: RuntimeApi, kind: str, message: str, started: float) -> Result:
        """End the process and return its error: the one that it reported itself, else the given one."""
        self.stop()
        with suppress(queue.Empty):
            return _result(api.answers.get_nowait(), started)
        return Result(None, {"errorType": kind, "errorMessage": message}, _elapsed_ms(started))

    def _spawn(self, api: RuntimeApi) -> subprocess.Popen[bytes]:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        spec = self._spec
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        environment |= (
            spec.environment
            | dict(self._environment)
            | {
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_FUNCTION_NAME": spec.name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": f"local/{self._number}/{self.starts}",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "LAMBDA_TASK_ROOT": str(spec.code),
                "PYTHONPATH": os.pathsep.join(map(str, (spec.code, *spec.layers))),
                "PYTHONUNBUFFERED": "1",
                "TZ": "UTC",
                "_HANDLER": spec.handler,
            }
        )
        with self._log_path.open("ab") as log:
            return spawn_child(
                [sys.executable, *self._program(), spec.handler],
                log.fileno(),
                env=environment,
                cwd=spec.code,
                inherit=False,
                nice=0 if any(isinstance(event, HttpEvent) for event in spec.events) else BACKGROUND_NICENESS,
            )

    def _program(self) -> tuple[str, ...]:
        faults = self._environment.get("DEEPLENS_FAULTS")
        return ("-P", str(FAULTY), faults) if faults else ("-m", "awslambdaric")

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def stop(self) -> None:
        process, self._process = self._process, None
        api, self._api = self._api, None
        if process is not None:
            end_group(process, signal.SIGKILL, 2)
        if api is not None:
            api.close()

    def retire(self) -> None:
        """Stop permanently: an invocation that still has this worker starts no new process."""
        self._retired = True
        self.stop()


class Pool:
    """The processes of one function: one is always warm, and more start while invocations wait, up to ``limit``."""

    def __init__(self, spec: FunctionSpec, environment: Mapping[str, str], log_dir: Path, limit: int) -> None:
        self.spec, self.limit = spec, limit
        self.invocations = self.errors = self.in_flight = 0
        self.last_ms = 0.0
        self._workers: list[Worker] = []
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._environment, self._log_path = environment, log_dir / "functions" / f"{spec.name}.log"

    def warm(self) -> None:
        """Start the first process. Raises ``ServiceFailed`` with the reason when the handler cannot be imported."""
        worker = self._take()
        failure = worker.warm()
        self._idle.put(worker)
        if failure is not None:
            reason = (failure.error or {}).get("errorMessage")
            raise ServiceFailed(f"{self.spec.name} did not start: {reason}. See {self._log_path}")

    def invoke(self, event: Any, timeout_seconds: float | None = None) -> Result:
        """Run the function once. The result holds errors; nothing is raised."""
        payload = json.dumps(event).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            result = _too_large(len(payload))
        else:
            result = self._invoke(payload, timeout_seconds or self.spec.timeout_seconds)
        self._count(result)
        rotate(self._log_path)
        return result

    def _invoke(self, payload: bytes, timeout_seconds: float) -> Result:
        with self._lock:
            self.in_flight += 1
        worker = self._take()
        try:
            return worker.invoke(payload, timeout_seconds)
        except Exception as error:
            # An error of the runner itself must not end the event source's thread and so stop its partitions.
            return Result(None, {"errorType": "Runner.Failed", "errorMessage": repr(error)}, 0)
        finally:
            self._idle.put(worker)
            with self._lock:
                self.in_flight -= 1

    def _take(self) -> Worker:
        with self._lock:
            with suppress(queue.Empty):
                return self._idle.get_nowait()
            if len(self._workers) < self.limit:
                self._workers.append(Worker(self.spec, self._environment, self._log_path, len(self._workers)))
                return self._workers[-1]
        return self._idle.get()

    def _count(self, result: Result) -> None:
        with self._lock:
            self.invocations += 1
            self.errors += result.failed
            self.last_ms = result.duration_ms

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid is not None]

    @property
    def restarts(self) -> int:
        """Number of processes that replaced one that had ended."""
        return sum(max(0, worker.starts - 1) for worker in self._workers)

    def kill_one(self) -> int | None:
        """Kill a process, as a crash would, and return its id; for tests."""
        alive = [worker for worker in self._workers if worker.pid is not None]
        if not alive:
            return None
        pid = alive[0].pid
        alive[0].kill()
        return pid

    def stop(self) -> None:
        for worker in self._workers:
            worker.retire()


def _too_large(size: int) -> Result:
    message = f"The event has {size} bytes; Lambda accepts at most {MAX_PAYLOAD_BYTES}."
    return Result(None, {"errorType": "RequestEntityTooLargeException", "errorMessage": message}, 0)


def _result(answer: Answer, started: float) -> Result:
    try:
        body = json.loads(answer.payload) if answer.payload else None
    except ValueError:
        body, answer = {"errorType": "Runtime.MarshalError", "errorMessage": "not JSON"}, Answer(b"", failed=True)
    if answer.failed:
        return Result(None, body if isinstance(body, dict) else {"errorMessage": str(body)}, _elapsed_ms(started))
    return Result(body, None, _elapsed_ms(started))


def _elapsed_ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)


def _resident_mb(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.Error:
        return 0.0
