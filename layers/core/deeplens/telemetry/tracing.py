"""Spans. Without a tracer, as where no endpoint is configured, all of this does nothing.

A call that serves several records, e.g. one inference of a batch, belongs to the trace of each: it is one ``Span``
with several contexts, and each of them is exported (docs/decisions/0023-traces.md).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol

from deeplens.telemetry.context import Contexts, SpanContext, parent_of
from deeplens.telemetry.context import active as _active
from deeplens.telemetry.conventions import ERROR_TYPE, SHARED, Attributes, Kind, Value, allowed, ids_of
from deeplens.telemetry.instruments import DROPPED
from deeplens.telemetry.logs import logger
from deeplens.telemetry.metrics import record

SUBJECT_FIELDS = ("event_id", "image_id", "video_id", "tenant_id")
"""From the closest to the widest: an item of unknown event is at least its tenant's."""
MAX_SPANS = 4000
"""Of one invocation, about 3 MB, each counted in every trace that it belongs to; what is more is dropped."""


@dataclass(slots=True, eq=False)
class Span:
    """Something that took time, in each trace that it belongs to.

    Attributes
    ----------
    contexts, parent_ids : per trace, in the same order; a root's parent is empty.
    links : contexts of related spans, of any trace.
    started, ended : nanoseconds since the epoch.
    """

    name: str
    kind: Kind
    contexts: Contexts
    parent_ids: tuple[str, ...]
    attributes: dict[str, Value | None]
    links: list[SpanContext] = field(default_factory=list)
    started: int = 0
    ended: int = 0

    def set(self, attributes: Attributes) -> None:
        if self.contexts:
            self.attributes.update(attributes)

    def fail(self, error_type: str) -> None:
        """Mark the span as an error of a type: a code or a class, never a message."""
        self.set({ERROR_TYPE: error_type})

    @property
    def traceparent(self) -> str:
        return self.contexts[0].traceparent if self.contexts else ""


NO_SPAN = Span("", Kind.INTERNAL, (), (), {})
"""Of what is not recorded; nothing can be set on it."""


class Export(Protocol):
    def __call__(self, spans: Sequence[Span]) -> None:
        """Send spans within a deadline, or drop and count them. Never raises."""


class Tracer:
    """Keeps the spans that ended until the invocation ends.

    Parameters
    ----------
    ratio : the part of new traces that is sampled.
    """

    def __init__(self, export: Export, ratio: float = 1.0) -> None:
        self.ratio, self._export = ratio, export
        self._ended: list[Span] = []
        self._kept = self.dropped = 0

    def end(self, span: Span) -> None:
        span.ended = time.time_ns()
        count = len(span.contexts)
        if self._kept + count <= MAX_SPANS:
            self._ended.append(span)
            self._kept += count
        else:
            self.dropped += count

    def flush(self) -> None:
        """Export what ended. Called when an invocation ends, as its process may be frozen then."""
        if self._ended:
            spans, self._ended, self._kept = self._ended, [], 0
            self._export(spans)
        if self.dropped:
            logger().warning(
                "telemetry dropped", signal="spans", reason="more than one invocation keeps", dropped=self.dropped
            )
            record(DROPPED, self.dropped, signal="spans")
            self.dropped = 0


_tracer: Tracer | None = None
_by_subject: ContextVar[Mapping[str, Contexts]] = ContextVar("by_subject", default={})  # noqa: B039 - never changed


def configure(tracer: Tracer | None) -> None:
    global _tracer
    _tracer = tracer


def enabled() -> bool:
    return _tracer is not None


def flush() -> None:
    if _tracer is not None:
        _tracer.flush()


def traceparent() -> str | None:
    """The ``traceparent`` of the span that runs here; None outside of a trace, and inside those of several records."""
    active = _active.get()
    return active[0].traceparent if len(active) == 1 else None


def active() -> Contexts:
    return _active.get()


def parent(text: str | None) -> SpanContext | None:
    """The parent that a ``traceparent`` names, or a new root; None where nothing is recorded."""
    return parent_of(text, _tracer.ratio) if _tracer is not None else None


def begin(
    name: str,
    kind: Kind,
    parents: Sequence[SpanContext],
    attributes: Attributes | None = None,
    links: Sequence[SpanContext] = (),
    subject: Attributes | None = None,
) -> Span:
    """Begin a span below each parent; ``end`` it. ``subject`` is inherited by the spans below it."""
    if _tracer is None or not parents:
        return NO_SPAN
    own = tuple(allowed(subject).items()) if subject else ()
    contexts = tuple(SpanContext(p.trace_id, token_hex(8), own or p.subject) for p in parents)
    shared = {SHARED: len(parents)} if len(parents) > 1 else {}
    given = {**(attributes or {}), **shared}
    return Span(name, kind, contexts, tuple(p.span_id for p in parents), given, list(links), time.time_ns())


def end(span: Span) -> None:
    if _tracer is not None and span.contexts:
        _tracer.end(span)


@contextmanager
def inside(contexts: Contexts, by_subject: Mapping[str, Contexts] | None = None) -> Iterator[None]:
    """Spans that begin meanwhile are below these.

    Parameters
    ----------
    by_subject : those of each record, by the id of its image or event, for ``about``.
    """
    token = _active.set(contexts)
    subjects = _by_subject.set(by_subject) if by_subject is not None else None
    try:
        yield
    finally:
        _active.reset(token)
        if subjects is not None:
            _by_subject.reset(subjects)


@contextmanager
def about(*items: object) -> Iterator[None]:
    """Spans that begin meanwhile are below those of the records that the items are about, where that is known.

    The calls for one record of a batch must not show in the traces of the others, which may be another tenant's.
    """
    known = _by_subject.get()
    subjects = [subject for item in items if (subject := _subject_of(item, known))] if known else []
    if not subjects:
        yield
        return
    with inside(tuple(dict.fromkeys(context for subject in subjects for context in known[subject]))):
        yield


def _subject_of(item: object, known: Mapping[str, Contexts]) -> str:
    """The id by which an item of a stage's work is known: an event, or what holds one; empty where there is none."""
    if isinstance(item, tuple):
        item = item[0] if item else None
    item = getattr(item, "event", item)
    fields = (str(getattr(item, field, None) or "") for field in SUBJECT_FIELDS)
    return next((value for value in fields if value in known), "")


@contextmanager
def span(name: str, kind: Kind = Kind.CLIENT, attributes: Attributes | None = None) -> Iterator[Span]:
    """A span below those that run here; nothing outside of a trace."""
    parents = _active.get()
    if _tracer is None or not parents:
        yield NO_SPAN
        return
    with running(begin(name, kind, parents, attributes)) as begun:
        yield begun


@contextmanager
def running(begun: Span) -> Iterator[Span]:
    """Run inside a span and end it; an exception marks it as an error."""
    if not begun.contexts:
        yield begun
        return
    token = _active.set(begun.contexts)
    try:
        yield begun
    except BaseException as error:
        begun.fail(str(getattr(error, "code", "") or type(error).__name__))
        raise
    finally:
        _active.reset(token)
        end(begun)


def linked_root(name: str, item: object) -> str:
    """Begin a trace for an event or row that is linked to what runs here; its ``traceparent``, empty without traces."""
    root = parent(None)
    span = begin(name, Kind.INTERNAL, [root] if root else [], ids_of(item), _active.get(), ids_of(item))
    end(span)
    return span.traceparent


def carried(work: Any) -> Any:
    """``work`` for a thread of a pool: its spans are below those that run here, or of the record of its argument."""
    if _tracer is None or not _active.get():
        return work
    contexts, subjects = _active.get(), _by_subject.get()

    def run(item: Any) -> Any:
        with inside(contexts, subjects), about(item):
            return work(item)

    return run
