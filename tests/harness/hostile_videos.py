"""Functions for the child that decodes videos: a film's last bytes say what it does to its decoder."""

from typing import Any

from deeplens.videos.decoding import child
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import VideoFacts

from tests.harness.hostile import suffer


def probe(ranges: Any, size_bytes: int, limits: VideoLimits) -> VideoFacts:
    suffer(ranges.get_range("", size_bytes - 16, 16))
    return child.probe(ranges, size_bytes, limits)


poster, frames_of = child.poster, child.frames_of
