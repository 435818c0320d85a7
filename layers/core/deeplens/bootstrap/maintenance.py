"""The registry of maintenance: which job does which kind of work. Its jobs belong to features on several floors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplens.common.resolve import Resolver

if TYPE_CHECKING:
    from deeplens.maintenance.maintain import MaintenanceJobs
    from deeplens.maintenance.slices import PagedWorks


class MaintenanceRegistry(Resolver):
    """Builds the jobs of maintenance; they are imported where they are needed, by one function."""

    @property
    def maintenance_jobs(self) -> MaintenanceJobs:
        from deeplens.duplicates.merge import SettleMerges
        from deeplens.images.remove import DeleteImages
        from deeplens.maintenance.maintain import MaintenanceJobs, Work
        from deeplens.maintenance.slices import RunSlices
        from deeplens.rollouts.advance import ContinueRollout
        from deeplens.stores.scan import LookAtObjects
        from deeplens.usage.tick import MEASURE_STORAGE, MeasureStorage
        from deeplens.videos.remove import DeleteVideos

        slices = self.build(RunSlices)
        return MaintenanceJobs(
            {
                Work("delete"): self.build(DeleteImages),
                Work("delete", of_video=True): self.build(DeleteVideos),
                Work("merge"): self.build(SettleMerges),
                Work("rollout"): self.build(ContinueRollout),
                Work(MEASURE_STORAGE): self.build(MeasureStorage),
                Work("store-objects"): self.build(LookAtObjects),
                **{Work(type): slices for type in slices.works},
            }
        )

    @property
    def paged_works(self) -> PagedWorks:
        from deeplens.duplicates.scan import ScanDuplicates
        from deeplens.maintenance.optimise import OptimiseStorage
        from deeplens.maintenance.slices import PagedWorks
        from deeplens.maintenance.sweep import Sweep
        from deeplens.stores.scan import ScanStore

        return PagedWorks(
            {
                "sweep": self.build(Sweep),
                "storage-optimisation": self.build(OptimiseStorage),
                "duplicate-scan": self.build(ScanDuplicates),
                "store-scan": self.build(ScanStore),
            }
        )
