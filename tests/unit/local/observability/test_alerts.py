"""Each alert has a runbook, a case in which it fires at each of its severities, and one in which it is silent."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from local.cli.app import app
from local.observability import write

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / "local" / "observability"
CASES = Path(__file__).parent / "alerts"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((FOLDER / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
ALERTS = sorted({rule["alert"] for rule in RULES})
COMMAND = re.compile(r"\bdeeplens ([a-z]+)(?: ([a-z-]+))?")


def promtool(*arguments: str) -> str:
    """Run Prometheus' tool, and return what it says; the test is skipped where there is none."""
    unpacked = ROOT / ".tools" / "prometheus" / "usr" / "bin" / "promtool"
    program = str(unpacked) if unpacked.exists() else shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: run `make prometheus`, or install Prometheus, to test the alerts")
    ended = subprocess.run([program, *arguments], cwd=CASES, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def cases_of(alert: str) -> list[dict[str, Any]]:
    """The expectations for an alert: ``exp_alerts`` of each of its tests."""
    document = yaml.safe_load((CASES / f"{alert}.yaml").read_text())
    checks = [check for test in document["tests"] for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks} == {alert}
    return checks


def test_alerts_fire_and_are_silent_as_their_cases_say() -> None:
    output = promtool("test", "rules", *(f"{alert}.yaml" for alert in ALERTS))

    assert output.count("SUCCESS") == len(ALERTS)


def test_prometheus_accepts_its_configuration() -> None:
    output = promtool("check", "config", str(FOLDER / "prometheus.yaml"))

    assert f"{len(list((FOLDER / 'rules').glob('*.yaml')))} rule files found" in output


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_cases_in_which_it_fires_and_is_silent(alert: str) -> None:
    expected = [check["exp_alerts"] for check in cases_of(alert)]
    fired = {case["exp_labels"]["severity"] for alerts in expected for case in alerts}

    assert fired == {rule["labels"]["severity"] for rule in RULES if rule["alert"] == alert}
    assert [] in expected


def test_every_file_of_cases_and_every_runbook_has_an_alert() -> None:
    assert sorted(path.stem for path in CASES.glob("*.yaml")) == ALERTS
    runbooks = sorted(path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md"))
    assert sorted({*runbooks, "README"}) == sorted([*ALERTS, "README"])


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_its_runbook(alert: str) -> None:
    named = {rule["annotations"]["runbook"] for rule in RULES if rule["alert"] == alert}

    assert named == {f"docs/runbooks/{alert}.md"}
    text = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n")
    for heading in ("## What it means", "## How to look", "## What to do"):
        assert heading in text


def test_the_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in write.files().items() if not path.exists() or path.read_text() != text]

    assert stale == [], "run `make observability`"


def is_command(name: str, subcommand: str) -> bool:
    commands = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - a group's
    known = commands.get(name)
    return known is not None and (not hasattr(known, "commands") or subcommand in known.commands)


@pytest.mark.parametrize("alert", [*ALERTS, "README"])
def test_a_runbook_names_commands_that_exist(alert: str) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text()

    assert [command for command in COMMAND.findall(text) if not is_command(*command)] == []
