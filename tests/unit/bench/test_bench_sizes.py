"""Every bench has a full size and a smoke size; ``all`` selects those that run without their name."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.bench import run
from local.bench.run import BENCHES, Bench
from local.cli.app import bench as command
from tests.harness.cli import deeplens


@pytest.mark.parametrize("name", BENCHES)
def test_a_smoke_size_is_smaller_than_the_full_one(name: str) -> None:
    parameters = inspect.signature(BENCHES[name].measure).parameters
    assert BENCHES[name].smoke
    for parameter, small in BENCHES[name].smoke.items():
        full = parameters[parameter].default
        assert (len(small) < len(full)) if isinstance(full, tuple) else small < full


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Record the arguments of benches instead of measuring."""
    found: dict[str, dict[str, Any]] = {}
    monkeypatch.chdir(tmp_path)

    def noted(name: str) -> Callable[..., dict[str, Any]]:
        return lambda **arguments: found.setdefault(name, arguments) or {"nothing": 1}

    for name, bench in BENCHES.items():
        monkeypatch.setitem(run.BENCHES, name, Bench(noted(name), bench.smoke, bench.by_name_only))
    return found


def test_smoke_runs_every_bench_and_writes_apart(measured: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert deeplens("bench", "--smoke").exit_code == 0
    assert measured == {name: bench.smoke for name, bench in BENCHES.items()}
    assert sorted(path.stem for path in (tmp_path / ".bench" / "smoke").iterdir()) == sorted(BENCHES)
    assert list((tmp_path / ".bench").glob("*.json")) == []


def test_without_a_name_only_the_default_benches_run(measured: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert deeplens("bench", "--images", "7").exit_code == 0
    assert measured == {"pipeline": {"count": 7}, "search": {}, "telemetry": {}, "cold_start": {}}
    assert json.loads((tmp_path / ".bench" / "search.json").read_text()) == {"nothing": 1}


def test_an_explicit_size_replaces_the_default(measured: dict[str, dict[str, Any]]) -> None:
    assert deeplens("bench", "upload", "--smoke", "--files", "50").exit_code == 0
    assert measured == {"upload": {**BENCHES["upload"].smoke, "count": 50}}


def test_every_bench_is_named_in_the_help() -> None:
    (name,) = inspect.get_annotations(command)["name"].__metadata__
    assert all(bench in name.help for bench in BENCHES)
    ended = deeplens("bench", "no-such")
    assert (ended.exit_code, all(bench in ended.output for bench in BENCHES)) == (1, True)
