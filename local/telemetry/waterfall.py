"""Draw traces in the terminal."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.telemetry import conventions as names
from deeplens.traces.model import KeptSpan, depths
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 32
SHOWN = (names.STAGE, names.OUTCOME, names.ATTEMPT, names.REPLAYS, names.HTTP_STATUS, names.MODEL, names.SHARED)


def waterfall(trace_id: str, spans: Sequence[KeptSpan]) -> RenderableType:
    """The spans of a trace below each other, with when each began, how long it took, and what it was linked to."""
    begin, end = min(span.started_ns for span in spans), max(span.ended_ns for span in spans)
    at = datetime.fromtimestamp(begin / 1e9).astimezone()
    table = Table(
        title=f"trace {trace_id}   {at:%Y-%m-%d %H:%M:%S}   {(end - begin) / 1e6:.1f} ms   {len(spans)} spans",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading, justify in (("span", "left"), ("function", "left"), ("at ms", "right"), ("ms", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("", no_wrap=True)
    table.add_column("")
    for depth, span in depths(spans):
        table.add_row(
            Text("  " * depth + span.name, "red" if span.error else ""),
            span.function,
            f"{(span.started_ns - begin) / 1e6:.1f}",
            f"{(span.ended_ns - span.started_ns) / 1e6:.1f}",
            Text(bar(span.started_ns - begin, span.ended_ns - begin, end - begin), "red" if span.error else "green"),
            remarks(trace_id, span),
        )
    return table


def bar(start: int, end: int, whole: int, width: int = BAR_WIDTH) -> str:
    """A bar of at least one character from ``start`` to ``end`` of ``whole``."""
    first = min(width - 1, start * width // max(1, whole))
    last = min(width, max(first + 1, end * width // max(1, whole)))
    return " " * first + "█" * (last - first) + " " * (width - last)


def remarks(trace_id: str, span: KeptSpan) -> str:
    """The attributes that tell most, the error, and links to other traces and other spans of this one."""
    shown = [f"{name.rpartition('.')[2]}={span.attributes[name]}" for name in SHOWN if name in span.attributes]
    error = [f"error={span.error}"] if span.error else []
    linked = [f"→ {span_id if linked == trace_id else linked}" for linked, span_id in span.links]
    return " ".join([*shown, *error, *linked[:3]])
