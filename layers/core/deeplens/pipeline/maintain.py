"""deeplens.images.maintenance → images deleted, roll-outs, sweeps and scans carried on, merges settled"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from deeplens.common.batch import followed_by
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome
from deeplens.duplicates.model import Duplicates, MergeDeadlines
from deeplens.duplicates.settle import SettleMerges
from deeplens.errors import InvalidEvent
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.erase import DeleteImages
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.maintenance.model import MaintenanceRuns, SweepGrace
from deeplens.maintenance.slices import RunSlices
from deeplens.pipeline.paged_works import PagedWorks
from deeplens.rollouts.advance import ContinueRollout
from deeplens.rollouts.model import BackfillWindow, Rollouts, VectorStates
from deeplens.storage.ports import StoreResolver
from deeplens.stores.model import RegisteredStores
from deeplens.stores.observe import ObserveObjects
from deeplens.stores.scan import LookAtObjects
from deeplens.tenants.batch import by_tenant
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.usage.measure import MEASURE_STORAGE, MeasureStorage
from deeplens.vectors.ports import VectorIndex
from deeplens.videos.erase import DeleteVideos
from deeplens.videos.model import PendingVideos, VideoRepository

type Job = Callable[[Tenant, Sequence[ImageMaintenance]], list[Outcome]]


class Maintain:
    """Hand each request to the job of its ``maintenanceType``.

    Consumes ``ImageMaintenance``; emits what its jobs do, and the tenant's next waiting ``ImageUploaded`` for deleted
    ones. Reads the tenant's row itself, since a remembered one may lack a collection.
    """

    name: ClassVar = "maintain"
    consumes: ClassVar = ImageMaintenance

    def __init__(
        self,
        tenants: TenantDirectory,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        videos: VideoRepository,
        pending_videos: PendingVideos,
        vector_states: VectorStates,
        rollouts: Rollouts,
        backfill_window: BackfillWindow,
        pending: PendingImages,
        pending_due: PendingDue,
        maintenance_runs: MaintenanceRuns,
        sweep_grace: SweepGrace,
        duplicates: Duplicates,
        merge_deadlines: MergeDeadlines,
        registered_stores: RegisteredStores,
        observe_objects: ObserveObjects,
        paged_works: PagedWorks,
        clock: Clock,
    ) -> None:
        self._tenants, self._pending, self._pending_due, self._clock = tenants, pending, pending_due, clock
        self._runs = maintenance_runs
        slices = RunSlices(maintenance_runs, paged_works.by_type, backfill_window, sweep_grace, clock)
        self._jobs: dict[str, Job] = {
            "delete": DeleteImages(stores, images, index, clock),
            "merge": SettleMerges(duplicates, merge_deadlines, clock),
            "delete-video": DeleteVideos(stores, videos, pending_videos, clock),
            "rollout": ContinueRollout(rollouts, vector_states, index, backfill_window, clock),
            MEASURE_STORAGE: MeasureStorage(images, clock),
            "store-objects": LookAtObjects(observe_objects, registered_stores),
            **dict.fromkeys(paged_works.by_type, slices),
        }

    def __call__(self, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes = by_tenant(batch, self._tenants, self._maintain_tenant, fresh=True)
        ended = [
            (event.tenant_id, event.image_id)
            for event, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Done) and event.image_id
        ]
        if ended:
            self._runs.changed({tenant_id for tenant_id, _ in ended}, self._clock.now())
        return followed_by(outcomes, self._pending.finish(ended, self._clock.now() + self._pending_due))

    def _maintain_tenant(self, tenant: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        for kind in dict.fromkeys(map(kind_of, batch)):
            mine = [event for event in batch if kind_of(event) == kind]
            outcomes.update(zip(map(id, mine), self._jobs.get(kind, unknown)(tenant, mine), strict=True))
        return [outcomes[id(event)] for event in batch]


def kind_of(event: ImageMaintenance) -> str:
    """The job's name; deletions of videos are other work than those of images."""
    return f"{event.maintenance_type}-video" if event.subject == "video" else event.maintenance_type


def unknown(_: Tenant, batch: Sequence[ImageMaintenance]) -> list[Outcome]:
    return [
        Failed(InvalidEvent(f"unknown maintenance {event.maintenance_type!r} of {event.subject or 'image'}"))
        for event in batch
    ]
