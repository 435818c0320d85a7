"""A tracer that keeps what is exported."""

from collections.abc import Iterator, Sequence

import pytest
from deeplens.telemetry import tracing
from deeplens.telemetry.tracing import Span, Tracer


class Recorded:
    """The spans of every flush, as they would be exported: with each of their traces."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def __call__(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        (found,) = self.named(name)
        return found


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    export = Recorded()
    tracing.configure(Tracer(export))
    yield export
    tracing.configure(None)
