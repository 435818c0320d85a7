"""every minute → accepted videos whose segments are not done in time → deeplens.videos.uploaded"""

from typing import ClassVar

from deeplens.common.ports import Clock
from deeplens.events.videos import VideoUploaded
from deeplens.videos.model import PendingVideos, PendingVideosDue


class ResumeVideos:
    """Send overdue videos again: one query over all tenants. What is done of them is not done twice.

    Parameters
    ----------
    pending_videos_due : how long a segment has until its video is sent once more.
    """

    name: ClassVar = "resume_videos"
    batch_size: ClassVar = 100

    def __init__(self, pending_videos: PendingVideos, pending_videos_due: PendingVideosDue, clock: Clock) -> None:
        self._pending, self._due, self._clock = pending_videos, pending_videos_due, clock

    def __call__(self) -> list[VideoUploaded]:
        now = self._clock.now()
        return self._pending.overdue(now, now + self._due, self.batch_size)
