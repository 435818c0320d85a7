"""Functions for the child that decodes videos: a film's last bytes say what it does to its decoder."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

from deeplens.videos.decoding import child
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.plan import Frame
from deeplens.videos.model import Segment, VideoFacts

from tests.harness.hostile import suffer

FLOOD = b"#flood#"


def probe(ranges: Any, size_bytes: int, limits: VideoLimits) -> VideoFacts:
    suffer(ranges.get_range("", size_bytes - 16, 16))
    return child.probe(ranges, size_bytes, limits)


poster = child.poster


def frames_of(ranges: Any, size_bytes: int, segment: Segment) -> Iterator[Frame]:
    """Frames without end, should the film say so."""
    frames = child.frames_of(ranges, size_bytes, segment)
    return cycle(frames) if ranges.get_range("", size_bytes - 16, 16).endswith(FLOOD) else frames
