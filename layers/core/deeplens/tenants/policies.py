"""What a tenant decided about duplicates and videos, and the pause of its uploads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeGuard


@dataclass(frozen=True, slots=True)
class IngestionPause:
    """Uploads are refused until ``until``, as the budget of ``metric`` is exhausted."""

    metric: str
    until: datetime


@dataclass(frozen=True, slots=True)
class DuplicatePolicy:
    """A tenant's policy about duplicates.

    Attributes
    ----------
    action : list duplicates for review; also reject duplicate files; also merge exact copies.
    undo_seconds : how long a merge can be undone.
    """

    action: Literal["report", "reject", "auto-merge-exact"] = "report"
    undo_seconds: int = 7 * 86_400


REPORT = DuplicatePolicy()
"""The default policy."""


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """How a tenant's videos are split into frames.

    Attributes
    ----------
    frame_every_seconds : maximum time between two frames, scene cuts aside.
    max_frames : limit for one video; a video that would exceed it is sampled less often.
    in_duplicate_review : whether frames are compared with other images and shown to reviewers.
    """

    frame_every_seconds: float = 5.0
    max_frames: int = 1000
    in_duplicate_review: bool = False


DEFAULT_SETTINGS = VideoSettings()


def video_settings_of(row: Mapping[str, Any]) -> VideoSettings:
    """The ``video`` of a tenant's row, by the names of the fields; invalid values become the defaults."""
    every, limit = row.get("frame_every_seconds"), row.get("max_frames")
    return VideoSettings(
        float(every) if _positive(every) else DEFAULT_SETTINGS.frame_every_seconds,
        int(limit) if _positive(limit) else DEFAULT_SETTINGS.max_frames,
        row.get("in_duplicate_review") is True,
    )


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
