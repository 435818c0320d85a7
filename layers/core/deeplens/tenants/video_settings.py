"""How a tenant's videos become frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """How a tenant's videos become frames.

    Attributes
    ----------
    frame_every_seconds : the longest time without a frame, scene cuts aside.
    max_frames : of one video, which is taken more sparsely where it would have more.
    in_duplicate_review : whether frames are compared with other images and shown to reviewers.
    """

    frame_every_seconds: float = 5.0
    max_frames: int = 1000
    in_duplicate_review: bool = False


DEFAULT_SETTINGS = VideoSettings()


def video_settings_of(row: Mapping[str, Any]) -> VideoSettings:
    """The ``video`` of a tenant's row, by the names of the fields; what makes no sense there is left out."""
    every, most = row.get("frame_every_seconds"), row.get("max_frames")
    return VideoSettings(
        float(every) if _positive(every) else DEFAULT_SETTINGS.frame_every_seconds,
        int(most) if _positive(most) else DEFAULT_SETTINGS.max_frames,
        row.get("in_duplicate_review") is True,
    )


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
