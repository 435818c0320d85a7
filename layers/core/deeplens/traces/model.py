"""Spans as they were kept, and the port to where they are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from deeplens.telemetry.conventions import ERROR_TYPE, TENANT, Value

type Link = tuple[str, str]
"""Ids of a trace and of a span in it."""


@dataclass(frozen=True, slots=True)
class KeptSpan:
    """A span of a trace.

    Attributes
    ----------
    parent_id : None for the root, or where the parent is not known.
    function : the function that recorded it.
    started_ns, ended_ns : nanoseconds since the epoch.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    function: str
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def error(self) -> str | None:
        """The code or class of the error; None for success."""
        error = self.attributes.get(ERROR_TYPE)
        return None if error is None else str(error)


class Traces(Protocol):
    """Spans of the last days. Raises ``TracesUnavailable``."""

    def of_image(self, image_id: str) -> list[KeptSpan]:
        """All spans of the traces that an image is in, oldest first; empty where none is known."""

    def of_trace(self, trace_id: str) -> list[KeptSpan]:
        """The spans of a trace, oldest first."""


def of_tenant(spans: Sequence[KeptSpan], tenant_id: str) -> list[KeptSpan]:
    """The spans of one tenant: a client may have sent a ``traceparent`` that another tenant's trace has as well.

    A span whose parent is left out has none.
    """
    own = [span for span in spans if span.attributes.get(TENANT) == tenant_id]
    known = {span.span_id for span in own}
    return [span if span.parent_id in known else replace(span, parent_id=None) for span in own]


def depths(spans: Sequence[KeptSpan]) -> list[tuple[int, KeptSpan]]:
    """The spans as a tree in the order of a waterfall: each below its parent, by start, with its depth."""
    by_id = {span.span_id: span for span in spans}
    children: dict[str | None, list[KeptSpan]] = {}
    for span in sorted(by_id.values(), key=lambda span: (span.started_ns, span.span_id)):
        children.setdefault(span.parent_id if span.parent_id in by_id else None, []).append(span)
    rows: list[tuple[int, KeptSpan]] = []
    waiting = [(0, span) for span in reversed(children.get(None, []))]
    while waiting:
        depth, span = waiting.pop()
        rows.append((depth, span))
        waiting += [(depth + 1, child) for child in reversed(children.get(span.span_id, []))]
    return rows
