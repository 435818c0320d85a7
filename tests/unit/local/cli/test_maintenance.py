"""``deeplens maintenance`` starts runs and prints their reports."""

import pytest
from deeplens.maintenance.model import Finding, report_of

from local.cli import admin, maintenance
from tests.harness.api import World
from tests.harness.cli import deeplens


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for module in (maintenance, admin):
        monkeypatch.setattr(module, "current_container", lambda: made)
    return made


def called(*arguments: str) -> tuple[int, str]:
    ended = deeplens("maintenance", *arguments)
    return ended.exit_code, ended.output


def test_a_run_is_started_shown_and_listed(world: World) -> None:
    code, printed = called("start", "tenant_acme", "--dry-run")
    assert code == 0
    run = world.maintenance_runs.runs[printed.strip()]
    assert (run.type, run.dry_run) == ("sweep", True)
    assert len(world.publisher.sent) == 1
    route = "POST /v1/admin/maintenance"
    assert world.audit.entries == [(route, "begun"), (route, "done")]
    assert "nothing found" in called("show", run.id)[1]
    report = report_of("rows", 7, [Finding("row-without-vector", "img_1", "m 1")], repaired=False)
    world.maintenance_runs.move(run.moved("end", report, run.due, run.due), "")
    shown = called("show", run.id)[1]
    assert "7 rows" in shown
    assert "row-without-vector  img_1  m 1" in shown
    assert f"{run.id}  tenant_acme  sweep (dry)  ended" in called("list")[1]
    assert run.id not in called("list", "tenant_other")[1]


@pytest.mark.parametrize(
    "arguments",
    [("start", "tenant_nobody"), ("start", "tenant_acme", "--type", "defragment"), ("show", "mnt_none")],
)
def test_an_invalid_command_is_explained(world: World, arguments: tuple[str, ...]) -> None:
    code, printed = called(*arguments)
    assert (code, "error:" in printed) == (1, True)
    assert world.maintenance_runs.runs == {}
