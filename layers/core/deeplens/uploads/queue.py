"""Messages to the queue that buckets notify, for stores that cannot notify and for lost notifications."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import ObjectLocation, notification_of

MAX_MESSAGES = 10


@dataclass(frozen=True, slots=True)
class SqsObjectQueue:
    """``ObjectQueue`` on SQS.

    Parameters
    ----------
    client : of SQS, made when it is first needed.
    """

    client: Callable[[], Any]
    url: str

    def send(self, locations: Sequence[ObjectLocation]) -> None:
        if not self.url:
            raise QueueUnavailable("OBJECT_QUEUE_URL is not set")
        for group in batched(locations, MAX_MESSAGES, strict=False):
            entries = [
                {"Id": str(n), "MessageBody": notification_of(location).to_wire().decode()}
                for n, location in enumerate(group)
            ]
            try:
                answer = self.client().send_message_batch(QueueUrl=self.url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                raise QueueUnavailable(f"{type(error).__name__}: {error}"[:300]) from error
            if refused := answer.get("Failed"):
                raise QueueUnavailable(str(refused[0].get("Message", "a message was refused"))[:300])
