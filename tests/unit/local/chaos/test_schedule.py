"""What chaos strikes and when: a pure function of the seed."""

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


def test_the_same_seed_strikes_the_same() -> None:
    assert plan(7, 60, SERVICES, FUNCTIONS) == plan(7, 60, SERVICES, FUNCTIONS)
    assert plan(7, 60, SERVICES, FUNCTIONS) != plan(8, 60, SERVICES, FUNCTIONS)


def test_a_schedule_is_what_it_was() -> None:
    assert plan(1, 10, ("kafka", "postgres"), ("search_api",))[:2] == (
        Strike(2.12, "search_api", "kill", 0.0, 0.945),
        Strike(2.63, "postgres", "freeze", 3.35, 0.21),
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_part_is_hit_twice_before_every_one_was_hit(seed: int) -> None:
    struck = [strike for strike in plan(seed, 60, SERVICES, ()) if strike.target in SERVICES]
    first, second = struck[:5], struck[5:10]
    assert {one.target for one in first} == {one.target for one in second} == set(SERVICES)
    assert not {(one.target, one.kind) for one in first} & {(one.target, one.kind) for one in second}


@pytest.mark.parametrize("seed", range(20))
def test_each_part_is_killed_and_frozen(seed: int) -> None:
    struck = {(strike.target, strike.kind) for strike in plan(seed, 120, SERVICES, FUNCTIONS)}
    assert struck == set(product((*SERVICES, *FUNCTIONS), KINDS))


@pytest.mark.parametrize(("seconds", "parts", "functions"), [(5, 1, 2), (20, 4, 9), (120, 22, 54)])
def test_longer_runs_are_struck_more_often(seconds: float, parts: int, functions: int) -> None:
    strikes = plan(3, seconds, SERVICES, FUNCTIONS)
    assert sum(strike.target in SERVICES for strike in strikes) == parts
    assert sum(strike.target in FUNCTIONS for strike in strikes) == functions


@pytest.mark.parametrize("seed", range(20))
def test_strikes_come_in_order_between_the_quiet_ends(seed: int) -> None:
    strikes = plan(seed, 100, SERVICES, FUNCTIONS)
    times = [strike.at_seconds for strike in strikes]
    assert times == sorted(times)
    assert 5 <= times[0] <= times[-1] <= 95
    for strike in strikes:
        assert (FREEZE_SECONDS[0] <= strike.seconds <= FREEZE_SECONDS[1]) == (strike.kind == "freeze")
        assert 0 <= strike.pick <= 1


def test_a_store_that_forgets_is_not_struck() -> None:
    assert set(SERVICES) - set(services_to_strike("s3")) == {"localstack"}


def test_photos_are_functions_of_seed_and_number() -> None:
    bodies = [photo(seed, number) for seed in (1, 2) for number in range(30)]
    assert len(set(bodies)) == 60
    assert photo(1, 4) == bodies[4]
    assert [n for n in range(100) if is_broken(n)] == [24, 49, 74, 99]
    assert BROKEN_EVERY == 25


def test_a_run_says_how_it_is_run_again() -> None:
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
