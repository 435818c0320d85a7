"""What commands print as JSON, and what they ask before they destroy something."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from local.cli import screen
from local.cli.admin import in_path
from local.cli.tenants import limit_of
from local.operations.admin import explanation
from local.services import ServiceFailed


@dataclass(frozen=True)
class Row:
    created_at: datetime
    settings: dict[str, str]
    secret: str = field(default="hidden", repr=False)


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, None),
        ({"retention.ms": 7}, {"retention.ms": 7}),
        ((1, "a"), [1, "a"]),
        (Path("/a/b"), "/a/b"),
        (timedelta(minutes=1), 60.0),
        (
            [Row(datetime(2026, 1, 14, tzinfo=UTC), {"min.insync.replicas": "1"})],
            [{"createdAt": "2026-01-14T00:00:00+00:00", "settings": {"min.insync.replicas": "1"}}],
        ),
    ],
)
def test_json_has_the_names_of_the_api_and_no_secrets(value: Any, document: Any) -> None:
    assert screen.plain(value) == document


@pytest.mark.parametrize(
    ("yes", "as_json", "terminal", "answer", "goes_on"),
    [
        (True, False, False, None, True),
        (True, True, False, None, True),
        (False, False, True, True, True),
        (False, False, True, False, False),
        (False, False, False, None, False),
        (False, True, True, None, False),
    ],
)
def test_nothing_is_destroyed_without_an_answer(
    monkeypatch: pytest.MonkeyPatch, yes: bool, as_json: bool, terminal: bool, answer: bool | None, goes_on: bool
) -> None:
    def ask(_: str, *, abort: bool) -> None:
        assert answer is not None
        if abort and not answer:
            raise typer.Abort

    monkeypatch.setattr(typer, "confirm", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    screen.print_json_only(wanted=as_json)
    try:
        screen.confirm("It would be lost.", yes=yes)
        went_on = True
    except (typer.Exit, typer.Abort):
        went_on = False
    finally:
        screen.print_json_only(wanted=False)
    assert went_on is goes_on


@pytest.mark.parametrize(("text", "limit"), [("default", None), ("0", 0), ("600", 600)])
def test_a_limit_is_a_number_or_the_platforms(text: str, limit: int | None) -> None:
    assert limit_of("maxImages", text) == limit


@pytest.mark.parametrize("text", ["", "-1", "many", "1.5"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(typer.Exit):
        limit_of("maxImages", text)


@pytest.mark.parametrize("name", ["", ".", "..", "../users", "a/b", "a%2fb", "a?b", "a b"])
def test_an_argument_does_not_lead_to_another_route(name: str) -> None:
    with pytest.raises(ServiceFailed, match="is no id"):
        in_path(name)


def test_a_problem_is_explained_with_its_members() -> None:
    problem = {"title": "Invalid request", "status": 422, "errors": [{"pointer": "/email", "detail": "too long"}]}
    assert explanation(problem) == "Invalid request\nemail: too long"
    unavailable = {"title": "Unavailable", "status": 503, "detail": "database"}
    assert explanation(unavailable).splitlines()[0] == "Unavailable: database"
    assert "repeat the command" in explanation(unavailable)
