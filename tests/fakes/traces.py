"""``Traces`` in memory."""

from deeplens.telemetry.conventions import IMAGE
from deeplens.traces.model import KeptSpan


class FakeTraces:
    """Keeps the spans that tests give it."""

    def __init__(self, *spans: KeptSpan) -> None:
        self.spans = spans

    def of_image(self, image_id: str) -> list[KeptSpan]:
        return [found for found in self.spans if found.attributes.get(IMAGE) == image_id]

    def of_trace(self, trace_id: str) -> list[KeptSpan]:
        return [found for found in self.spans if found.trace_id == trace_id]
