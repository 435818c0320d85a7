"""Functions run as on Lambda: in their own process and environment, with limits, and errors are reported."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local.runner.logs import rotate
from local.runner.template import Template
from local.runner.worker import Pool
from local.services.process import ServiceFailed
from tests.integration.local.runner.conftest import ENVIRONMENT, HERE, StartPool, eventually


def error_type(pool: Pool, **event: object) -> str:
    error = pool.invoke(event).error
    assert error is not None
    return str(error["errorType"])


def test_a_function_sees_lambdas_environment_and_not_the_developers(
    start_pool: StartPool, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVELOPERS_TOKEN", "secret")
    seen = start_pool(GIVEN="by the caller").invoke({"do": "environment"}).payload
    variables = seen["variables"]
    assert {"OWN": "1", "GIVEN": "by the caller", "TZ": "UTC", "AWS_REGION": "us-east-1"}.items() <= variables.items()
    assert "DEVELOPERS_TOKEN" not in variables
    code = str(template.function("toy").code)
    assert (seen["cwd"], variables["LAMBDA_TASK_ROOT"]) == (code, code)
    assert (seen["function"], seen["layer"], seen["memory_mb"]) == ("toy", "toy layer", "128")
    assert 0 < seen["left_ms"] <= 1000
    assert seen["arn"].endswith(":function:toy")


def test_invocations_share_one_warm_process_with_new_request_ids(start_pool: StartPool) -> None:
    pool = start_pool()
    pids = {pool.invoke({"do": "pid"}).payload for _ in range(5)}
    assert pids == set(pool.pids)
    requests = {pool.invoke({"do": "environment"}).payload["request_id"] for _ in range(3)}
    assert len(requests) == 3


def test_a_warm_call_costs_a_small_part_of_a_start(
    start_pool: StartPool, record_property: Callable[[str, object], None]
) -> None:
    pool = start_pool()
    started = time.perf_counter()
    pool.warm()
    start_ms = (time.perf_counter() - started) * 1000
    durations = []
    for _ in range(300):
        started = time.perf_counter()
        assert pool.invoke({"do": "echo", "n": 1}).payload == {"do": "echo", "n": 1}
        durations.append((time.perf_counter() - started) * 1000)
    record_property("warm_call_p50_ms", statistics.median(durations))
    assert statistics.median(durations) < start_ms / 10


def test_an_exception_is_reported_and_the_process_goes_on(start_pool: StartPool) -> None:
    pool = start_pool()
    before = pool.invoke({"do": "pid"}).payload
    result = pool.invoke({"do": "fail"})
    assert result.error is not None
    assert (result.error["errorType"], result.error["errorMessage"]) == ("ValueError", "no such thing")
    assert pool.invoke({"do": "pid"}).payload == before
    assert (pool.invocations, pool.errors, pool.in_flight) == (3, 1, 0)


def test_a_function_that_takes_too_long_is_ended_and_started_again(start_pool: StartPool) -> None:
    pool = start_pool()
    before = pool.invoke({"do": "pid"}).payload
    result = pool.invoke({"do": "sleep", "seconds": 30})
    assert result.error == {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 1.00 seconds"}
    assert 900 < result.duration_ms < 3000
    assert not psutil.pid_exists(before)
    assert pool.invoke({"do": "pid"}).payload != before


@pytest.mark.parametrize("how", ["crash", "exit_"])
def test_a_crash_in_mid_invocation_is_an_error_and_the_next_call_works(start_pool: StartPool, how: str) -> None:
    pool = start_pool()
    assert error_type(pool, do=how).startswith("Runtime.")
    assert pool.invoke({"do": "echo"}).payload == {"do": "echo"}


def test_a_process_killed_while_idle_is_replaced_without_an_error(start_pool: StartPool) -> None:
    pool = start_pool()
    pool.warm()
    pid = pool.kill_one()
    assert pid is not None
    eventually(lambda: not pool.pids)
    assert pool.invoke({"do": "pid"}).payload not in (None, pid)


def test_a_function_that_outgrows_its_memory_is_ended(start_pool: StartPool, template: Template) -> None:
    pool = start_pool()
    result = pool.invoke({"do": "hoard_memory", "mb": 200}, timeout_seconds=10)
    assert result.error == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": "the function used more than its 128 MB",
    }
    assert pool.invoke({"do": "echo"}).payload == {"do": "echo"}


def test_payloads_above_six_megabytes_fail_in_both_directions(start_pool: StartPool) -> None:
    pool = start_pool()
    assert len(pool.invoke({"do": "large", "bytes": 5_900_000}).payload) == 5_900_000
    assert error_type(pool, do="large", bytes=6_400_000) == "Function.ResponseSizeTooLarge"
    assert error_type(pool, do="echo", text="x" * 6_400_000) == "RequestEntityTooLargeException"
    assert pool.invoke({"do": "echo", "text": "x" * 5_900_000}).error is None


def test_an_answer_that_is_not_json_is_an_error(start_pool: StartPool) -> None:
    assert error_type(start_pool(), do="unserializable") == "Runtime.MarshalError"


def test_a_handler_that_cannot_be_imported_says_why(template: Template, tmp_path: Path) -> None:
    broken = replace(template.function("toy"), code=HERE / "functions" / "broken")
    pool = Pool(broken, ENVIRONMENT, tmp_path, 1)
    with pytest.raises(ServiceFailed, match=r"broken did not start: .*no_such_package"):
        pool.warm()
    assert error_type(pool, do="echo") == "Runtime.ImportModuleError"
    pool.stop()


def test_a_layer_is_missing_where_the_template_does_not_name_it(template: Template, tmp_path: Path) -> None:
    pool = Pool(replace(template.function("toy"), layers=()), ENVIRONMENT, tmp_path, 1)
    with pytest.raises(ServiceFailed, match="toy_layer"):
        pool.warm()
    pool.stop()


def test_concurrent_calls_get_processes_of_their_own_up_to_the_limit(start_pool: StartPool) -> None:
    pool = start_pool(limit=3)
    with ThreadPoolExecutor(6) as callers:
        calls = [callers.submit(pool.invoke, {"do": "sleep", "seconds": 0.3}) for _ in range(6)]
        pids = [call.result().payload["pid"] for call in calls]
    assert len(set(pids)) == len(pool.pids) == 3


def test_a_process_outlives_the_thread_that_needed_it_first(start_pool: StartPool) -> None:
    pool = start_pool()
    first = threading.Thread(target=pool.warm)
    first.start()
    first.join()
    pid = pool.pids[0]
    for _ in range(3):
        assert pool.invoke({"do": "pid"}).payload == pid


def test_output_of_functions_is_in_their_log(start_pool: StartPool, tmp_path: Path) -> None:
    start_pool().invoke({"do": "say", "text": "hello log"})
    log = tmp_path / "logs" / "functions" / "toy.log"
    eventually(lambda: "hello log" in log.read_text())


def test_a_log_that_grew_is_emptied_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "f.log"
    with path.open("a") as log:
        log.write("old" * 100)
        log.flush()
        rotate(path, max_bytes=100)
        log.write("new")
    assert path.read_text() == "new"
    assert (tmp_path / "f.log.1").read_text() == "old" * 100


def test_stop_ends_calls_in_flight_and_nothing_starts_after_it(start_pool: StartPool) -> None:
    pool = start_pool(limit=1)
    with ThreadPoolExecutor(3) as callers:
        calls = [callers.submit(pool.invoke, {"do": "sleep", "seconds": 20}, 30) for _ in range(3)]
        eventually(lambda: pool.pids and pool.in_flight == 3)
        started = time.monotonic()
        pool.stop()
        assert all(call.result().failed for call in calls)
    assert time.monotonic() - started < 2
    assert pool.pids == []
    assert error_type(pool, do="echo") == "Runner.Stopped"


ORPHANS = f"""
import time
from pathlib import Path
from local.runner.template import load
from local.runner.worker import Pool
spec = load(Path({str(HERE / "template.yaml")!r}), {{}}, {{}}).function("toy")
pool = Pool(spec, {{}}, Path("logs"), 1)
pool.warm()
print(pool.pids[0], flush=True)
time.sleep(60)
"""


def test_functions_die_with_a_runner_that_was_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(5)
    parent.stdout.close()
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
