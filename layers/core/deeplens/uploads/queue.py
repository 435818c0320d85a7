"""The queue that buckets notify of new objects; here for those that cannot notify, and for what got lost."""

from collections.abc import Callable, Sequence
from itertools import batched
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import Place, notification_of

MAX_MESSAGES = 10


class SqsObjectQueue:
    """``ObjectQueue`` on SQS.

    Parameters
    ----------
    client : of SQS, made when it is first needed.
    """

    def __init__(self, client: Callable[[], Any], url: str) -> None:
        self._client, self._url = client, url

    def send(self, places: Sequence[Place]) -> None:
        if not self._url:
            raise QueueUnavailable("OBJECT_QUEUE_URL is not set")
        for group in batched(places, MAX_MESSAGES, strict=False):
            entries = [
                {"Id": str(n), "MessageBody": notification_of(place).to_wire().decode()}
                for n, place in enumerate(group)
            ]
            try:
                answer = self._client().send_message_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                raise QueueUnavailable(f"{type(error).__name__}: {error}"[:300]) from error
            if refused := answer.get("Failed"):
                raise QueueUnavailable(str(refused[0].get("Message", "a message was refused"))[:300])
