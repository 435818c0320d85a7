"""W3C trace context: what continues a trace, what begins one, what is sampled."""

import pytest
from deeplens.telemetry.context import parent_of, parse_traceparent, unsampled_root

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_taken_only_when_it_is_one(text: str | None, sampled: bool | None) -> None:
    found = parse_traceparent(text)
    assert (found and (found[0].trace_id, found[0].span_id, found[1])) == (
        None if sampled is None else (TRACE, SPAN, sampled)
    )


@pytest.mark.parametrize(
    ("text", "ratio", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", 0.0, TRACE),
        (f"00-{TRACE}-{SPAN}-00", 1.0, None),
        (None, 0.0, None),
        ("garbage", 0.0, None),
    ],
)
def test_a_trace_is_sampled_as_its_parent_was(text: str | None, ratio: float, trace: str | None) -> None:
    parent = parent_of(text, ratio)
    assert (parent.trace_id if parent else None) == trace


def test_a_part_of_new_traces_is_sampled() -> None:
    roots = [parent_of(None, 0.25) for _ in range(2000)]
    assert 350 < sum(root is not None for root in roots) < 650
    assert all(root.span_id == "" for root in roots if root)
    assert parse_traceparent(unsampled_root())[1] is False  # type: ignore[index]
