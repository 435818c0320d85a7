"""What runs in the process that decodes videos. Files are read through the parent."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import av

import deeplens.imaging.child  # noqa: F401
from deeplens.sandbox.child import Ranges
from deeplens.videos.decoding import frames as frames_module
from deeplens.videos.decoding import probe as probe_module
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import DecodeDeadline
from deeplens.videos.decoding.plan import Frame
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.model import Segment, VideoFacts

# PyAV imports most of itself when it meets a kind of stream, filter or frame for the first time.
for module in walk_packages(av.__path__, "av."):
    if module.name != "av.__main__":
        import_module(module.name)


def probe(ranges: Ranges, size_bytes: int, limits: VideoLimits) -> VideoFacts:
    return probe_module.probe(RangedFile(ranges, "", size_bytes), limits)


def poster(ranges: Ranges, size_bytes: int, facts: VideoFacts) -> bytes:
    return probe_module.poster(RangedFile(ranges, "", size_bytes), facts)


def frames_of(ranges: Ranges, size_bytes: int, segment: Segment) -> Iterator[Frame]:
    return frames_module.frames_of(RangedFile(ranges, "", size_bytes), segment, DecodeDeadline())
