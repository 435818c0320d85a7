"""What people see in a terminal: starting, status, tables."""

from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

console = Console()


def fail(message: str) -> typer.Exit:
    """Print the message; raise what is returned to end the command with status 1."""
    print_error(message)
    return typer.Exit(1)


def print_error(message: str) -> None:
    """Print a message as it is: brackets in it are no markup, and a path stays in one piece."""
    console.print(Text.assemble(("error:", "bold red"), f" {message}"), highlight=False, soft_wrap=True)


def status_view(status: dict[str, Any]) -> RenderableType:
    """Parts and functions as two tables."""
    return Group(_parts(status), _functions(status), Text(f"API {status['api']}/v1   Ctrl-C stops everything", "dim"))


def _parts(status: dict[str, Any]) -> Table:
    table = Table(title="parts", title_justify="left", box=None, pad_edge=False)
    for heading in ("part", "state", "at"):
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
