"""Maintenance that goes through a tenant's data page by page, by the type of its run."""

from concurrent.futures import Executor

from deeplens.common.ports import Clock
from deeplens.duplicates.model import Duplicates
from deeplens.duplicates.scan import ScanDuplicates
from deeplens.images.ports import ImageRepository, PendingImages
from deeplens.maintenance.model import ThumbnailRetention
from deeplens.maintenance.optimise import OptimiseStorage
from deeplens.maintenance.slices import PagedWork
from deeplens.maintenance.sweep import Sweep
from deeplens.rollouts.model import VectorStates
from deeplens.stores.model import RegisteredStores, ScanWindow, StoreObjects, TenantStores
from deeplens.stores.observe import ObserveObjects
from deeplens.stores.scan import ScanStore
from deeplens.vectors.ports import VectorIndex


class PagedWorks:
    """``by_type`` has one work for each type of run."""

    def __init__(
        self,
        stores: TenantStores,
        images: ImageRepository,
        index: VectorIndex,
        vector_states: VectorStates,
        thumbnails_kept: ThumbnailRetention | None,
        duplicates: Duplicates,
        workers: Executor,
        observe_objects: ObserveObjects,
        registered_stores: RegisteredStores,
        store_objects: StoreObjects,
        pending: PendingImages,
        scan_window: ScanWindow,
        clock: Clock,
    ) -> None:
        self.by_type: dict[str, PagedWork] = {
            "sweep": Sweep(stores, images, index, vector_states, thumbnails_kept, clock),
            "storage-optimisation": OptimiseStorage(stores, images, thumbnails_kept, clock),
            "duplicate-scan": ScanDuplicates(stores, images, index, duplicates, workers, clock),
            "store-scan": ScanStore(observe_objects, stores, registered_stores, store_objects, pending, scan_window),
        }
