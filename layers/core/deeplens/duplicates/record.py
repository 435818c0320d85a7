"""deeplens.duplicates.found → groups for review, merges where the policy says so → deeplens.tenant.notifications"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from deeplens.common.batch import followed_by
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome
from deeplens.duplicates.merges import follow_ups
from deeplens.duplicates.model import Duplicates, MergeDeadlines, Recorded, merge_id_of, undo_until
from deeplens.duplicates.notifications import duplicates_found
from deeplens.events.duplicates import DuplicatesFound
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
        outcomes: list[Outcome] = [Done(tuple(self._notifications(tenant, event, recorded))) for event in batch]
        return followed_by(outcomes, follow_ups(self.images, tenant, recorded.merges, now))

    def _notifications(self, tenant: Tenant, event: DuplicatesFound, recorded: Recorded) -> list[Event]:
        return [
            notification
            for match in event.duplicates
            if match.pair_id and match.pair_id in recorded.groups
            for notification in duplicates_found(tenant, event, match, recorded.groups[match.pair_id])
        ]
