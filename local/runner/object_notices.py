"""Send bucket notifications for directory stores: a message to the template's object queue per new object."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import ObjectLocation
from deeplens.uploads.queue import SqsObjectQueue


class ObjectNotifier:
    """Send one notification per new object. A failure is only logged, because the schedule finds the object later.

    Parameters
    ----------
    client : creates an SQS client.
    url : URL of the object queue; empty if the template has none.
    """

    def __init__(self, client: Callable[[], Any], url: str, log: Callable[[str], None]) -> None:
        self._client, self._url, self._log = client, url, log

    def __call__(self, location: ObjectLocation) -> None:
        try:
            self._queue.send([location])
        except QueueUnavailable as error:
            self._log(f"no notification for {location.bucket}/{location.key}: {error}")

    @cached_property
    def _queue(self) -> SqsObjectQueue:
        client = self._client()
        return SqsObjectQueue(lambda: client, self._url)
