"""Send a message to the template's object queue for each new object in a directory, as a bucket would."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import ObjectLocation
from deeplens.uploads.queue import SqsObjectQueue


class ObjectNotices:
    """Notifies of new objects. One that cannot be sent is logged: the schedule finds its object.

    Parameters
    ----------
    client : makes a client of SQS.
    url : of the object queue; empty where the template has none.
    """

    def __init__(self, client: Callable[[], Any], url: str, log: Callable[[str], None]) -> None:
        self._client, self._url, self._log = client, url, log

    def __call__(self, place: ObjectLocation) -> None:
        try:
            self._queue.send([place])
        except QueueUnavailable as error:
            self._log(f"not notified of {place.bucket}/{place.key}: {error}")

    @cached_property
    def _queue(self) -> SqsObjectQueue:
        client = self._client()
        return SqsObjectQueue(lambda: client, self._url)
