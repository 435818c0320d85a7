"""The schedule of strikes depends only on the seed and the options."""

import json
from itertools import product
from pathlib import Path

import pytest

from local.chaos.photos import BROKEN_EVERY, is_broken, photo
from local.chaos.report import report
from local.chaos.run import Options, Outcome, services_to_strike
from local.chaos.schedule import FREEZE_SECONDS, KINDS, Strike, plan

SERVICES = services_to_strike("nfs")
FUNCTIONS = ("search_api", "on_image_uploaded", "on_schedule")


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert plan(7, 60, SERVICES, FUNCTIONS) == plan(7, 60, SERVICES, FUNCTIONS)
    assert plan(7, 60, SERVICES, FUNCTIONS) != plan(8, 60, SERVICES, FUNCTIONS)


def test_the_schedule_of_a_seed_does_not_change_between_versions() -> None:
    assert plan(1, 10, ("kafka", "postgres"), ("search_api",))[:2] == (
        Strike(2.12, "search_api", "kill", 0.0, 0.945),
        Strike(2.63, "postgres", "freeze", 3.35, 0.21),
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_service_is_struck_twice_before_every_service_was_struck(seed: int) -> None:
    struck = [strike for strike in plan(seed, 60, SERVICES, ()) if strike.target in SERVICES]
    first, second = struck[:5], struck[5:10]
    assert {strike.target for strike in first} == {strike.target for strike in second} == set(SERVICES)
    assert not {(strike.target, strike.kind) for strike in first} & {(strike.target, strike.kind) for strike in second}


@pytest.mark.parametrize("seed", range(20))
def test_each_service_is_killed_and_frozen(seed: int) -> None:
    struck = {(strike.target, strike.kind) for strike in plan(seed, 120, SERVICES, FUNCTIONS)}
    assert struck == set(product((*SERVICES, *FUNCTIONS), KINDS))


@pytest.mark.parametrize(("seconds", "parts", "functions"), [(5, 1, 2), (20, 4, 9), (120, 22, 54)])
def test_longer_runs_have_more_strikes(seconds: float, parts: int, functions: int) -> None:
    strikes = plan(3, seconds, SERVICES, FUNCTIONS)
    assert sum(strike.target in SERVICES for strike in strikes) == parts
    assert sum(strike.target in FUNCTIONS for strike in strikes) == functions


@pytest.mark.parametrize("seed", range(20))
def test_strikes_are_in_order_and_avoid_the_begin_and_the_end(seed: int) -> None:
    strikes = plan(seed, 100, SERVICES, FUNCTIONS)
    times = [strike.at_seconds for strike in strikes]
    assert times == sorted(times)
    assert 5 <= times[0] <= times[-1] <= 95
    for strike in strikes:
        assert (FREEZE_SECONDS[0] <= strike.seconds <= FREEZE_SECONDS[1]) == (strike.kind == "freeze")
        assert 0 <= strike.pick <= 1


def test_localstack_is_not_struck_if_it_stores_the_photos() -> None:
    assert set(SERVICES) - set(services_to_strike("s3")) == {"localstack"}


def test_photos_are_functions_of_seed_and_number() -> None:
    bodies = [photo(seed, number) for seed in (1, 2) for number in range(30)]
    assert len(set(bodies)) == 60
    assert photo(1, 4) == bodies[4]
    assert [n for n in range(100) if is_broken(n)] == [24, 49, 74, 99]
    assert BROKEN_EVERY == 25


def test_a_run_prints_the_command_that_repeats_it() -> None:
    command = Options(photos=80, clients=4, seconds=20, seed=12345678, faults=0.01).command
    expected = "deeplens chaos --photos 80 --clients 4 --seconds 20 --seed 12345678 --faults 0.01 --storage nfs"
    assert command == expected


@pytest.mark.parametrize(("violations", "held"), [([], True), (["img_1: was answered 202 and has no row"], False)])
def test_the_report_names_violations_and_how_to_repeat(
    violations: list[str],
    held: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = Options(seed=9)
    assert report(options, Outcome({"lost": len(violations), "seed": 9}, violations)) is held

    said = capsys.readouterr().out
    assert f"repeat with: {options.command}" in said.replace("\n", "")
    assert all(violation in said for violation in violations)
    assert json.loads((tmp_path / ".bench" / "chaos.json").read_text()) == {"lost": len(violations), "seed": 9}
