"""every minute → accepted videos whose segments are not done in time → deeplens.videos.uploaded"""

from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.videos import VideoUploaded
from deeplens.videos.model import PendingVideos, PendingVideosDue


@dataclass(frozen=True, slots=True)
class ResumeVideos:
    """Send overdue videos again: one query over all tenants. Segments that are done are not repeated.

    Parameters
    ----------
    pending_videos_due : how long a segment may take before its video is sent again.
    """

    name: ClassVar = "resume_videos"
    batch_size: ClassVar = 100

    pending_videos: PendingVideos
    pending_videos_due: PendingVideosDue
    clock: Clock

    def __call__(self) -> list[VideoUploaded]:
        now = self.clock.now()
        return self.pending_videos.overdue(now, now + self.pending_videos_due, self.batch_size)
