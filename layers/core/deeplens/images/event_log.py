"""All lines of the timelines of a tenant's images, in one order that does not change any more."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from deeplens.images.model import Step, TimelineEntry
from deeplens.tenants.model import Tenant

type LogPosition = tuple[datetime, int]
"""When a line was recorded, and its id."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A line of an image's timeline, and its place among all lines of the tenant."""

    id: int
    image_id: str
    recorded_at: datetime
    entry: TimelineEntry

    @property
    def position(self) -> LogPosition:
        return self.recorded_at, self.id


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Filters and position.

    Attributes
    ----------
    before : lines behind this one, the newest first; None begins with the newest.
    after : lines that came since this one, the oldest first; wins over ``before``.
    """

    limit: int = 50
    image_id: str | None = None
    stage: str | None = None
    step: Step | None = None
    errors: bool = False
    before: LogPosition | None = None
    after: LogPosition | None = None


class EventLog(Protocol):
    """Lines of one tenant's database. Every method raises ``DatabaseUnavailable``."""

    def settled(self, tenant: Tenant) -> LogPosition:
        """What stands at or before this place is there and stays as it is: no line will still appear among it."""

    def page(self, tenant: Tenant, query: LogQuery) -> list[LoggedEvent]:
        """At most ``query.limit`` lines. Those of deleted images never.

        With ``after`` only what is settled: who goes on from the last line misses none, whoever writes at the time.
        """
