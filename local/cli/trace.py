"""``deeplens trace``: where the time of an image went."""

import os
from typing import Annotated

import typer
from deeplens.traces.jaeger import JaegerTraces
from deeplens.traces.model import KeptSpan, depths
from deeplens.traces.schemas import TraceView, span_view

from local.cli.screen import fail, show
from local.stack.config import LocalConfig
from local.telemetry.store import FILE, SpanStore
from local.telemetry.waterfall import waterfall


def trace(
    image_id: Annotated[str, typer.Argument(help="img_…")] = "",
    trace_id: Annotated[str, typer.Option("--trace", help="Id of a trace, of 32 hexadecimal digits.")] = "",
) -> None:
    """Print the spans of an image, from its upload to its webhook, with the time that each took.

    They come from the last day of the stack in DEEPLENS_STATE_DIR, which need not run, or from Jaeger's query API if
    DEEPLENS_JAEGER_URL is set.
    """
    config = LocalConfig()
    if bool(image_id) == bool(trace_id):
        raise fail("give the id of an image, or --trace with the id of a trace")
    spans = find_spans(config, image_id, trace_id)
    if not spans:
        about = image_id or f"trace {trace_id}"
        raise fail(f"no spans of {about} are kept; the stack keeps those of the last day, unless DEEPLENS_TELEMETRY=0")
    by_trace: dict[str, list[KeptSpan]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, []).append(span)
    views = [span_view(depth, span) for depth, span in depths(spans)]
    show(TraceView(spans=views), *(waterfall(found, group) for found, group in by_trace.items()))


def find_spans(config: LocalConfig, image_id: str, trace_id: str) -> list[KeptSpan]:
    """The spans of an image or of a trace, from Jaeger if its address is set."""
    if url := os.environ.get("DEEPLENS_JAEGER_URL"):
        jaeger = JaegerTraces(url)
        return jaeger.of_image(image_id) if image_id else jaeger.of_trace(trace_id)
    store = SpanStore(config.state_dir / FILE)
    return store.of_image(image_id) if image_id else store.of_trace(trace_id)
