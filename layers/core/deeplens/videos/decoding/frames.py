"""The frames of a segment: at scene cuts, and at regular times between them."""

import math
from collections.abc import Iterator

import av
from av.filter import Graph
from av.video.stream import VideoStream

from deeplens.formats.errors import VideoTruncated
from deeplens.videos.decoding.media import DecodeDeadline, frames_from, jpeg_of, open_video
from deeplens.videos.decoding.plan import Frame, FramePicker
from deeplens.videos.decoding.probe import type_of
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.model import Segment

CUT = 0.2
"""FFmpeg's scene score, 0 to 1, from which two frames are of two scenes."""
COMPARED_WIDTH = 160
COMPARED_PER_SECOND = 12
"""At least, where there are so many frames: of 60 a second every fifth is compared."""
MISSING_SECONDS = 2.0
"""A segment without pictures in its first seconds is cut off."""


class SceneCuts:
    """Tells whether a frame begins a new scene. FFmpeg compares small copies of the frames.

    The score is that of FFmpeg's ``select`` filter: how much the picture changed, unless it keeps changing so.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._time_base, self._number = stream.time_base, -1
        self._step = max(1, int(float(stream.average_rate or 0) / COMPARED_PER_SECOND))
        self._graph: Graph | None = None
        self._format = (0, 0, "")

    def __call__(self, frame: av.VideoFrame) -> bool:
        self._number += 1
        if self._number % self._step:
            return False
        shape = frame.width, frame.height, frame.format.name
        if self._graph is None or shape != self._format:
            # Pictures of two shapes cannot be compared; a stream that changes it begins anew.
            self._graph, self._format = self._scene_filter(frame), shape
        self._graph.push(frame)
        try:
            self._graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return False
        return True

    def _scene_filter(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=self._time_base
            ),
            graph.add("scale", f"{COMPARED_WIDTH}:-2:flags=fast_bilinear"),
            graph.add("select", f"gt(scene,{CUT})"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def frames_of(file: RangedFile, segment: Segment, deadline: DecodeDeadline) -> Iterator[Frame]:
    """The segment's frames by offset, decoded as they are asked for.

    Raises
    ------
    InvalidVideo
        ``VideoTruncated`` where the segment has no pictures, ``VideoCorrupt``, ``VideoTooSlow``.
    """
    with open_video(file, type_of(file)) as (container, stream):
        picker, cuts, first = FramePicker(segment), SceneCuts(stream), math.inf
        for offset, frame in frames_from(container, stream, segment.begin_seconds, deadline):
            if offset >= segment.end_seconds and not segment.last:
                break
            first = min(first, offset)
            if picker.wants(offset, cut=cuts(frame)):
                yield Frame(offset, jpeg_of(stream, frame))
        if first >= min(segment.end_seconds, segment.begin_seconds + MISSING_SECONDS + segment.every_seconds):
            raise VideoTruncated(f"no pictures from second {segment.begin_seconds:.0f} on: the file ends before")
