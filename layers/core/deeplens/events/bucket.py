"""A bucket's notification about an object, as S3 itself sends it to the queue.

S3 writes these messages, so nobody can name another account's bucket in one. A rule of EventBridge could.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote_plus

from pydantic import AliasGenerator, ConfigDict, Field, model_validator

from deeplens.common.event import Event, Wire


@dataclass(frozen=True, slots=True)
class ObjectLocation:
    """Where an object is; ``source`` is ``aws:s3``, or ``deeplens:nfs`` for a directory, and ``key`` is decoded."""

    source: str
    bucket: str
    key: str


CREATED = "ObjectCreated:"
REMOVED = "ObjectRemoved:"
TEST = "s3:TestEvent"


class NamedBucket(Wire):
    name: str = Field(min_length=1, max_length=255)


class NamedObject(Wire):
    """``key`` is URL-encoded, a blank as ``+``."""

    key: str = Field(min_length=1, max_length=4096)


class Entity(Wire):
    bucket: NamedBucket
    object: NamedObject


class ObjectRecord(Wire):
    event_source: str
    event_name: str
    s3: Entity


class BucketNotification(Event):
    """One message of the queue: objects that were created or removed, or S3's test event."""

    model_config = ConfigDict(alias_generator=AliasGenerator(alias=str.capitalize))

    records: list[ObjectRecord] | None = Field(default=None, min_length=1, max_length=1000)
    event: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.records is None and self.event != TEST:
            raise ValueError("neither records nor a test event")
        return self

    @property
    def created(self) -> list[ObjectLocation]:
        """The new objects."""
        return self._named(CREATED)

    @property
    def changed(self) -> list[ObjectLocation]:
        """Objects that were created or removed."""
        return self._named(CREATED, REMOVED)

    def _named(self, *events: str) -> list[ObjectLocation]:
        """Objects of these events. Invalid Unicode in a key becomes U+FFFD, which no key of DeepLens contains."""
        return [
            ObjectLocation(record.event_source, record.s3.bucket.name, unquote_plus(record.s3.object.key))
            for record in self.records or []
            if record.event_name.removeprefix("s3:").startswith(events)
        ]


def notification_of(place: ObjectLocation) -> BucketNotification:
    """The notification that a bucket would send of an object."""
    entity = Entity(bucket=NamedBucket(name=place.bucket), object=NamedObject(key=quote(place.key)))
    return BucketNotification(records=[ObjectRecord(event_source=place.source, event_name=f"{CREATED}Put", s3=entity)])
