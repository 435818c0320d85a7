"""``deeplens top``: what the stack does now."""

import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from local.cli.screen import console, fail, show, show_line, table
from local.stack.config import LocalConfig
from local.stack.stack import running_stack
from local.telemetry.rates import Rates, document_of, read

HEADINGS = {
    "topics": ("topic", "sentPerSecond", "consumedPerSecond", "lag"),
    "functions": (
        *("function", "invocationsPerSecond", "recordsPerSecond", "inFlight", "p95Ms", "errorsPerSecond"),
        *("failedPerSecond", "invalidPerSecond", "waitingPerSecond"),
    ),
    "dependencies": ("dependency", "callsPerSecond", "meanMs", "p95Ms", "errorsPerSecond"),
    "api": ("operation", "requestsPerSecond", "p95Ms", "failedPerSecond"),
}
TITLES = {
    "sentPerSecond": "sent/s",
    "consumedPerSecond": "consumed/s",
    "invocationsPerSecond": "invocations/s",
    "recordsPerSecond": "records/s",
    "inFlight": "in flight",
    "p95Ms": "p95 ms",
    "meanMs": "mean ms",
    "errorsPerSecond": "errors/s",
    "failedPerSecond": "failed/s",
    "invalidPerSecond": "invalid/s",
    "waitingPerSecond": "waiting/s",
    "callsPerSecond": "calls/s",
    "requestsPerSecond": "requests/s",
}
ALARMING = ("errorsPerSecond", "failedPerSecond", "waitingPerSecond")


def top(
    once: Annotated[
        bool, typer.Option("--once", help="Measure once, for the length of the interval, and end.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two measurements.")] = 2.0,
    url: Annotated[str, typer.Option(help="A page of metrics, instead of the running stack's.")] = "",
) -> None:
    """Show rates, lag, times and errors of topics, functions and dependencies, until Ctrl-C.

    With --json each measurement is one line of JSON.
    """
    address = url or _address()
    before = read(address)
    if once:
        document, _ = _measure(address, before, interval)
        show(document, lambda: view(document))
        return
    while console.stderr:
        document, before = _measure(address, before, interval)
        show_line(document, "")
    with Live(Text("measuring …"), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            document, before = _measure(address, before, interval)
            live.update(view(document), refresh=True)


def _address() -> str:
    state = running_stack(LocalConfig().state_dir)
    if state is None:
        raise fail("nothing is running; start with `deeplens up`, or give --url of a page of metrics")
    if not state["metrics"]:
        raise fail("the stack runs with DEEPLENS_TELEMETRY=0, and measures nothing")
    return str(state["metrics"])


def _measure(address: str, before: Any, seconds: float) -> tuple[dict[str, Any], Any]:
    time.sleep(seconds)
    after = read(address)
    return document_of(Rates(before, after)), after


def view(document: dict[str, Any]) -> RenderableType:
    """A line about images, and a table per kind."""
    images = document["images"]
    p95 = "" if images["p95Seconds"] is None else f", p95 {images['p95Seconds']} s from accepted to searchable"
    line = f"{images['completedPerSecond']} images/s{p95}; {images['pending']} pending, the oldest for "
    tables = [part for kind in HEADINGS for part in (Text(""), _table(kind, document[kind]))]
    return Group(Text(f"{line}{images['oldestPendingSeconds']:.0f} s"), *tables)


def _table(kind: str, rows: list[dict[str, Any]]) -> RenderableType:
    first, *numbers = HEADINGS[kind]
    titles = [TITLES.get(name, name) for name in numbers]
    made = table(first, *titles, right=tuple(titles))
    for row in rows:
        cells = [Text(_cell(row[name]), "red" if name in ALARMING and row[name] else "") for name in numbers]
        made.add_row(row[first], *cells)
    return made


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
