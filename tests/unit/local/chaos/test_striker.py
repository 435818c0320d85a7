"""Strikes reach processes, and frozen processes continue."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from local.chaos.schedule import Strike
from local.chaos.striker import Striker, process_tree
from tests.harness.sleepers import FOREVER, Sleeper, eventually

WITH_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOREVER!r}])"


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Sleeper]:
    service = Sleeper(tmp_path, WITH_CHILD)
    service.start()
    eventually(lambda: len(process_tree(service.pid or 0)) == 2)
    yield service
    service.kill()


@pytest.fixture
def stack(part: Sleeper) -> Any:
    pool = SimpleNamespace(pids=[part.pid])
    runner = SimpleNamespace(pools={"on_image_uploaded": pool, "on_schedule": SimpleNamespace(pids=[])})
    return SimpleNamespace(runner=runner, service={"sleeper": part}.__getitem__)


def states(part: Sleeper) -> set[str]:
    return {process.status() for process in process_tree(part.pid or 0)}


def test_a_freeze_stops_all_processes_of_a_service_and_continues_them(stack: Any, part: Sleeper) -> None:
    lines: list[str] = []
    striker = Striker(stack, [Strike(0.0, "sleeper", "freeze", 0.6)], lines.append)
    striker.start()
    eventually(lambda: states(part) == {psutil.STATUS_STOPPED})
    striker.join()

    eventually(lambda: states(part) == {psutil.STATUS_SLEEPING})
    assert striker.done == {"freeze": 1}
    assert lines == ["   0.0 s  sleeper                    frozen for 0.6 s"]


def test_a_striker_that_is_stopped_leaves_nothing_frozen(stack: Any, part: Sleeper) -> None:
    striker = Striker(stack, [Strike(0.0, "sleeper", "freeze", 60)], lambda _: None)
    striker.start()
    eventually(lambda: states(part) == {psutil.STATUS_STOPPED})
    striker.stop()
    eventually(lambda: states(part) == {psutil.STATUS_SLEEPING})


def test_kills_reach_services_and_functions_and_missing_targets_are_logged(stack: Any, part: Sleeper) -> None:
    lines: list[str] = []
    strikes = [Strike(0.0, "on_schedule", "kill"), Strike(0.1, "on_image_uploaded", "kill", pick=0.9)]
    strikes.append(Strike(0.5, "sleeper", "kill"))
    striker = Striker(stack, strikes, lines.append)
    striker.start()
    striker.join()

    assert part.died()
    assert striker.done == {"kill": 1, "missed": 2}
    assert [line.endswith("was not running") for line in lines] == [True, False, True]
