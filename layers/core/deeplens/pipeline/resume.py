"""every minute → accepted images that have not ended in time → deeplens.images.uploaded"""

from datetime import timedelta
from typing import ClassVar

from deeplens.contracts.events import ImageUploaded
from deeplens.ports import Clock, PendingImages


class ResumeOverdue:
    """Send overdue accepted images again: one query over all tenants, whatever stopped them.

    Parameters
    ----------
    pending_due : how long an image has until it is sent once more.
    """

    name: ClassVar = "resume"
    batch_size: ClassVar = 500

    def __init__(self, pending: PendingImages, pending_due: timedelta, clock: Clock) -> None:
        self._pending, self._pending_due, self._clock = pending, pending_due, clock

    def __call__(self) -> list[ImageUploaded]:
        now = self._clock.now()
        return self._pending.overdue(now, now + self._pending_due, self.batch_size)
