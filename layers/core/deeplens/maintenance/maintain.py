"""deeplens.images.maintenance → images deleted, roll-outs, sweeps and scans continued, merges settled"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, NewType, Self

from deeplens.common.groups import grouped
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, followed_by
from deeplens.errors import InvalidEvent
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.requests import AdmitImages
from deeplens.maintenance.model import MaintenanceRuns
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory


class Work(NamedTuple):
    """A kind of maintenance: deleting a video is other work than deleting an image."""

    type: str
    of_video: bool = False

    @classmethod
    def of(cls, event: ImageMaintenance) -> Self:
        return cls(event.maintenance_type, event.subject == "video")


type Job = Callable[[Tenant, Sequence[ImageMaintenance]], list[Outcome]]
MaintenanceJobs = NewType("MaintenanceJobs", Mapping[Work, Job])
"""The job that does each kind of work."""


@dataclass(frozen=True)
class Maintain:
    """Pass each request to the job of its kind.

    Consumes ``ImageMaintenance``; emits what the jobs emit, and the tenant's next waiting ``ImageUploaded`` for deleted
    images. Reads the tenant's row itself, since a cached one may lack a collection.
    """

    name: ClassVar = "maintain"
    consumes: ClassVar = ImageMaintenance

    tenants: TenantDirectory
    jobs: MaintenanceJobs
    maintenance_runs: MaintenanceRuns
    admit_images: AdmitImages
    clock: Clock

    def __call__(self, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes = by_tenant(batch, self.tenants, self._maintain_tenant, fresh=True)
        ended = [
            (event.tenant_id, event.image_id)
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and event.image_id
        ]
        if ended:
            self.maintenance_runs.changed({tenant_id for tenant_id, _ in ended}, self.clock.now())
        return followed_by(outcomes, self.admit_images.finish(ended))

    def _maintain_tenant(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        for work, events in grouped(batch, Work.of).items():
            outcomes.update(zip(map(id, events), self.jobs.get(work, fail_unknown)(tenant, events), strict=True))
        return [outcomes[id(event)] for event in batch]


def fail_unknown(_: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
    return [
        Failed(InvalidEvent(f"unknown maintenance {event.maintenance_type!r} of {event.subject or 'image'}"))
        for event in batch
    ]
