"""W3C trace context: which span of which trace something belongs to."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from secrets import token_hex

from deeplens.telemetry.conventions import Value

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
NO_SPAN_ID = ""
"""Of the parent of a root."""


@dataclass(frozen=True, slots=True)
class SpanContext:
    """A span of a sampled trace, as the parent of others.

    Attributes
    ----------
    subject : the attributes that every span below it has as well: tenant, image, video.
    """

    trace_id: str
    span_id: str
    subject: tuple[tuple[str, Value], ...] = ()

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


type Contexts = tuple[SpanContext, ...]

active: ContextVar[Contexts] = ContextVar("active", default=())
"""The spans that run here: of several records, where a call serves them all."""


def parse_traceparent(text: str | None) -> tuple[SpanContext, bool] | None:
    """The context of a ``traceparent`` and whether it is sampled; None for what is none."""
    match = TRACEPARENT.fullmatch(text or "")
    return (SpanContext(match[1], match[2]), bool(int(match[3], 16) & 1)) if match else None


def parent_of(text: str | None, ratio: float = 1.0) -> SpanContext | None:
    """The parent that a ``traceparent`` names, or of the root of a new trace; None where the trace is not sampled.

    Parameters
    ----------
    ratio : the part of new traces that is sampled; a trace that has begun elsewhere is sampled as its parent was.
    """
    given = parse_traceparent(text)
    if given is not None:
        context, sampled = given
        return context if sampled else None
    trace_id = token_hex(16)
    # As ``TraceIdRatioBased`` decides, by the lower 63 bits.
    return SpanContext(trace_id, NO_SPAN_ID) if int(trace_id[16:], 16) >> 1 < ratio * 2**63 else None


def unsampled_root() -> str:
    """The ``traceparent`` of a trace that nobody records."""
    return f"00-{token_hex(16)}-{token_hex(8)}-00"
