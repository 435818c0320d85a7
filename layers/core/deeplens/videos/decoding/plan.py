"""Pure decisions: how a video is split into segments, and which frames are kept."""

import math
from dataclasses import dataclass

from deeplens.tenants.model import VideoSettings
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import Segment, VideoFacts

PIXELS_PER_SEGMENT = 24e9
"""Four minutes of decoding at 100 megapixels a second, which two slow cores reach with any codec."""
ASSUMED_FPS = 30.0
ROUNDING = 0.002
"""Seconds; times in files are whole numbers of small units."""
LEAST_GAP_SECONDS = 0.5
"""Between a frame and a cut: flashes and fast editing give no frame each."""


def plan_segments(facts: VideoFacts, settings: VideoSettings, limits: VideoLimits) -> tuple[Segment, ...]:
    """Equal parts, each short enough for one invocation; those that would give no frame are left out."""
    pixels_per_second = max(1.0, facts.width * facts.height * (facts.fps or ASSUMED_FPS))
    length = max(1.0, min(limits.segment_seconds, PIXELS_PER_SEGMENT / pixels_per_second))
    count = max(1, math.ceil(facts.duration_seconds / length))
    max_frames = max(1, settings.max_frames)
    bounds = [round(facts.duration_seconds * number / count, 3) for number in range(count + 1)]
    # Of few frames for many parts, every part in so many gives one.
    frames = [(number + 1) * max_frames // count - number * max_frames // count for number in range(count)]
    parts = [(bounds[number], bounds[number + 1], frames[number]) for number in range(count) if frames[number]]
    return tuple(
        Segment(
            number,
            begin,
            end,
            allowed,
            round(max(settings.frame_every_seconds, (end - begin) / allowed), 3),
            last=number == len(parts) - 1,
        )
        for number, (begin, end, allowed) in enumerate(parts)
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """A kept frame: ``offset_seconds`` from the video's first, and a JPEG file."""

    offset_seconds: float
    jpeg: bytes


class FramePicker:
    """Which frames of a segment are kept: the first, those at scene cuts, and one whenever the last is too long ago.

    Cuts never take the places of frames that are still due, so that a segment with many is covered to its end.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment, self._last, self._left = segment, -math.inf, segment.max_frames

    def wants(self, offset: float, *, cut: bool) -> bool:
        """Whether to keep the frame at ``offset`` seconds; called in their order."""
        since = offset - self._last
        due = since >= self._segment.every_seconds - ROUNDING
        spare = cut and since >= LEAST_GAP_SECONDS and self._left > self._due_after(offset)
        if not self._left or not (due or spare):
            return False
        self._left -= 1
        self._last = offset
        return True

    def _due_after(self, offset: float) -> int:
        return max(0, math.ceil((self._segment.end_seconds - offset) / self._segment.every_seconds) - 1)
