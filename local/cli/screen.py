"""Print to the terminal: errors, status, tables."""

from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

console = Console()


def fail(message: str) -> typer.Exit:
    """Print the message and return an exception; raising it ends the command with status 1."""
    print_error(message)
    return typer.Exit(1)


def print_error(message: str) -> None:
    """Print an error message, unchanged."""
    print_line("error:", "bold red", message)


def print_line(label: str, style: str, text: str) -> None:
    """Print a styled label and a text, without interpreting markup and without wrapping long paths."""
    console.print(Text.assemble((label, style), f" {text}"), highlight=False, soft_wrap=True)


def status_view(status: dict[str, Any]) -> RenderableType:
    """Return services and functions as two tables."""
    return Group(
        _services(status), _functions(status), Text(f"API {status['api']}/v1   Ctrl-C stops everything", "dim")
    )


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
