"""Print to the terminal: results, errors, status, tables; or the same as JSON."""

import dataclasses
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 400
"""What reads the output of a pipe wants whole lines."""
console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
"""For people. Standard output, or with ``--json`` standard error."""


def print_json_only(*, wanted: bool) -> None:
    """Keep standard output for JSON, or print for people."""
    console.stderr = wanted


def show(document: Any, *views: RenderableType | Callable[[], RenderableType]) -> None:
    """Print the result of a command: the document with ``--json``, else the views of it."""
    if console.stderr:
        show_json(document)
        return
    for view in views:
        shown = view() if callable(view) else view
        console.print(shown, highlight=False, markup=False, soft_wrap=isinstance(shown, str))


def show_json(document: Any) -> None:
    """Print a document that people read as JSON, too."""
    typer.echo(json.dumps(plain(document), indent=2))


def show_line(document: Any, view: str) -> None:
    """Print one of many results, as it comes: with ``--json`` one document per line."""
    typer.echo(json.dumps(plain(document)) if console.stderr else view)


def table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without a frame, whose last column may wrap; ``right`` names columns of numbers."""
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in right else "left"
        made.add_column(heading, justify=justify, overflow="fold", no_wrap=heading != headings[-1])
    return made


def plain(value: Any) -> Any:
    """A value as JSON has it. Names of fields become camelCase; fields that ``repr`` hides are left out."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True)
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Path():
            return str(value)
    if dataclasses.is_dataclass(value):
        return {
            to_camel(field.name): plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr
        }
    return value


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed. Without a terminal, ``--yes`` is required."""
    if yes:
        return
    if console.stderr or not sys.stdin.isatty():
        raise fail(f"{question}\nNothing was changed. To do it without being asked, repeat the command with --yes.")
    typer.confirm(f"{question} Continue?", abort=True)


def fail(message: str) -> typer.Exit:
    """Print the message and return an exception; raising it ends the command with status 1."""
    print_error(message)
    return typer.Exit(1)


def print_error(message: str) -> None:
    """Print an error message, unchanged."""
    if console.stderr:
        typer.echo(json.dumps({"error": message}))
        return
    print_line("error:", "bold red", message)


def print_line(label: str, style: str, text: str) -> None:
    """Print a styled label and a text, without interpreting markup and without wrapping long paths."""
    console.print(Text.assemble((label, style), f" {text}"), highlight=False, soft_wrap=True)


def status_view(status: dict[str, Any]) -> RenderableType:
    """Return services and functions as two tables."""
    metrics = f"   metrics {status['metrics']}" if status.get("metrics") else ""
    addresses = f"API {status['api']}/v1{metrics}   Ctrl-C stops everything"
    return Group(_services(status), _functions(status), Text(addresses, "dim"))


def _services(status: dict[str, Any]) -> Table:
    table = Table(title="services", title_justify="left", box=None, pad_edge=False)
    for heading in ("service", "state", "at"):
        table.add_column(heading)
    for row in status["parts"]:
        state = Text("up", "green") if row["alive"] else Text("down", "bold red")
        table.add_row(row["part"], state, row["at"])
    return table


def _functions(status: dict[str, Any]) -> Table:
    table = Table(title="functions", title_justify="left", box=None, pad_edge=False)
    table.add_column("function")
    for heading in ("processes", "invocations", "errors", "in flight", "last ms", "lag"):
        table.add_column(heading, justify="right")
    for row in status["functions"]:
        errors = Text(str(row["errors"]), "red" if row["errors"] else "")
        lag = "" if row["lag"] is None else str(row["lag"])
        counts = (str(row["processes"]), str(row["invocations"]), errors, str(row["in_flight"]))
        table.add_row(row["function"], *counts, f"{row['last_ms']:.1f}", lag)
    return table
