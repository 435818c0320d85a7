"""deeplens.duplicates.found → groups for review, merges where the policy says so → deeplens.tenant.notifications"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ids import event_id
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, followed_by
from deeplens.duplicates.merge import follow_ups
from deeplens.duplicates.model import Duplicates, MergeDeadlines, merge_id_of, undo_until
from deeplens.events.duplicates import DuplicatesFound
from deeplens.events.notifications import DUPLICATES_FOUND, TenantNotification
from deeplens.images.ports import ImageRepository
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory


@dataclass(frozen=True)
class RecordDuplicates:
    """Group duplicates, merge exact copies if the tenant's policy says so, and notify once per pair.

    Consumes ``DuplicatesFound``; emits a ``TenantNotification`` if a webhook subscribes to it, and the events that
    follow from each merge. The event names pairs, but the tenant's database decides: pairs whose images were deleted,
    decided or merged since are left alone, and another tenant's pairs are unknown there.
    """

    name: ClassVar = "record"
    consumes: ClassVar = DuplicatesFound

    tenants: TenantDirectory
    images: ImageRepository
    duplicates: Duplicates
    merge_deadlines: MergeDeadlines
    clock: Clock

    def __call__(self, batch: Sequence[DuplicatesFound]) -> list[Outcome]:
        return by_tenant(batch, self.tenants, self._record_tenant)

    def _record_tenant(self, tenant: Tenant, batch: Sequence[DuplicatesFound]) -> list[Outcome]:
        now = self.clock.now()
        matches = [match for event in batch for match in event.duplicates if match.pair_id]
        if tenant.duplicates.action == "auto-merge-exact":
            # Before the merges: a merge without a deadline would never settle. Unneeded deadlines are dropped later.
            due = undo_until(tenant.duplicates, now)
            exact = {match.pair_id for match in matches if match.pair_id and match.verdict == "exact"}
            self.merge_deadlines.add([(tenant.id, merge_id_of(pair), due) for pair in sorted(exact)])
        recorded = self.duplicates.record(tenant, [match.pair_id for match in matches if match.pair_id], now)
        outcomes: list[Outcome] = [Done(_notifications(tenant, event, recorded.groups)) for event in batch]
        return followed_by(outcomes, follow_ups(self.images, tenant, recorded.merges, now))


def _notifications(tenant: Tenant, event: DuplicatesFound, groups: Mapping[str, str]) -> tuple[Event, ...]:
    """The notification about each pair, with the same id whichever record leads to it."""
    if DUPLICATES_FOUND not in tenant.notified:
        return ()
    return tuple(
        TenantNotification(
            event_id=event_id(DUPLICATES_FOUND, tenant.id, match.pair_id),
            tenant_id=tenant.id,
            type=DUPLICATES_FOUND,
            occurred_at=event.found_at,
            image_id=event.image_id,
            details={
                "duplicateId": groups[match.pair_id],
                "pairId": match.pair_id,
                "imageIds": [match.image_id, event.image_id],
                "verdict": match.verdict,
                "score": match.score,
            },
        )
        for match in event.duplicates
        if match.pair_id and match.pair_id in groups
    )
