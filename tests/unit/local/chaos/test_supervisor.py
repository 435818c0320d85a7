"""The supervisor restarts services that die, but not those that were stopped."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.services.supervisor import CHECK_SECONDS, MAX_PAUSE_SECONDS, Supervisor, pause_seconds
from tests.harness.sleepers import Sleeper, eventually


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Sleeper]:
    service = Sleeper(tmp_path)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(part: Sleeper, lines: list[str]) -> Iterator[Supervisor]:
    running = Supervisor([part], lines.append)
    running.start()
    yield running
    running.stop()


def strike(part: Sleeper) -> int:
    assert part.pid
    os.kill(part.pid, signal.SIGKILL)
    return part.pid


def test_the_supervisor_restarts_a_service_that_died(part: Sleeper, supervisor: Supervisor, lines: list[str]) -> None:
    first = strike(part)
    eventually(lambda: supervisor.restarts == 1)
    assert part.alive()
    assert part.pid != first
    assert lines == ["sleeper died and will be restarted", "sleeper was restarted"]


def test_the_supervisor_retries_a_start_that_fails(part: Sleeper, supervisor: Supervisor, lines: list[str]) -> None:
    part.refusals = 2
    strike(part)
    eventually(lambda: supervisor.restarts == 1)
    assert part.alive()
    assert lines.count("sleeper could not be restarted: its port is taken") == 2


@pytest.mark.parametrize("end", [Sleeper.stop, Sleeper.kill])
def test_a_service_that_was_stopped_is_not_restarted(part: Sleeper, supervisor: Supervisor, end: object) -> None:
    end(part)  # type: ignore[operator]
    assert not part.died()
    time.sleep(3 * CHECK_SECONDS)
    assert (part.launches, supervisor.restarts) == (1, 0)

    part.launch()
    assert part.alive()


def test_a_stopped_supervisor_restarts_nothing(part: Sleeper, supervisor: Supervisor) -> None:
    supervisor.stop()
    assert part.alive()
    strike(part)
    eventually(part.died)
    time.sleep(3 * CHECK_SECONDS)
    assert part.launches == 1


def test_a_service_outlives_the_supervisor_that_restarted_it(part: Sleeper, supervisor: Supervisor) -> None:
    strike(part)
    eventually(lambda: supervisor.restarts == 1)
    supervisor.stop()
    time.sleep(0.2)
    assert part.alive()


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.2), (1, 0.4), (3, 1.6), (10, MAX_PAUSE_SECONDS)])
def test_pauses_grow(failures: int, seconds: float) -> None:
    assert pause_seconds(failures) == seconds
    assert pause_seconds(10_000) == MAX_PAUSE_SECONDS
