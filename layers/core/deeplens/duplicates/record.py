"""deeplens.duplicates.found → groups for review, merges where the policy says so → deeplens.tenant.notifications"""

from collections.abc import Sequence
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


class RecordDuplicates:
    """Group duplicates, merge exact copies for tenants that want it, and tell webhooks once per pair.

    Consumes ``DuplicatesFound``; emits a ``TenantNotification`` where a webhook wants it, and for each merge what
    follows from it. The event names pairs, the tenant's database decides: what was deleted, decided or merged since is
    left alone. Pairs that another tenant's images would be in are unknown there.
    """

    name: ClassVar = "record"
    consumes: ClassVar = DuplicatesFound

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        duplicates: Duplicates,
        merge_deadlines: MergeDeadlines,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._duplicates = tenants, images, duplicates
        self._deadlines, self._clock = merge_deadlines, clock

    def __call__(self, batch: Sequence[DuplicatesFound]) -> list[Outcome]:
        return by_tenant(batch, self._tenants, self._record_tenant)

    def _record_tenant(self, tenant: Tenant, batch: Sequence[DuplicatesFound]) -> list[Outcome]:
        now = self._clock.now()
        matches = [match for event in batch for match in event.duplicates if match.pair_id]
        if tenant.duplicates.action == "auto-merge-exact":
            # Before the merges: one whose deadline nobody knew would never settle. Those that are not made are dropped.
            due = undo_until(tenant.duplicates, now)
            exact = {match.pair_id for match in matches if match.pair_id and match.verdict == "exact"}
            self._deadlines.add([(tenant.id, merge_id_of(pair), due) for pair in sorted(exact)])
        recorded = self._duplicates.record(tenant, [match.pair_id for match in matches if match.pair_id], now)
        outcomes: list[Outcome] = [Done(tuple(self._told(tenant, event, recorded))) for event in batch]
        return followed_by(outcomes, follow_ups(self._images, tenant, recorded.merges, now))

    def _told(self, tenant: Tenant, event: DuplicatesFound, recorded: Recorded) -> list[Event]:
        return [
            told
            for match in event.duplicates
            if match.pair_id and match.pair_id in recorded.groups
            for told in duplicates_found(tenant, event, match, recorded.groups[match.pair_id])
        ]
