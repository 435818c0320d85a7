"""Maintenance that goes through a tenant's data page by page, by the type of its run."""

from concurrent.futures import Executor
from datetime import timedelta

from deeplens.pipeline.observe_objects import ObserveObjects
from deeplens.pipeline.optimise_storage import OptimiseStorage
from deeplens.pipeline.run_slices import PagedWork
from deeplens.pipeline.scan_duplicates import ScanDuplicates
from deeplens.pipeline.scan_store import ScanStore
from deeplens.pipeline.sweep import Sweep
from deeplens.ports import (
    Clock,
    Duplicates,
    ImageRepository,
    PendingImages,
    RegisteredStores,
    StoreObjects,
    StoreResolver,
    VectorIndex,
    VectorStates,
)


class PagedWorks:
    """``by_type`` has one work for each type of run."""

    def __init__(
        self,
        stores: StoreResolver,
        images: ImageRepository,
        index: VectorIndex,
        vector_states: VectorStates,
        thumbnails_kept: timedelta | None,
        duplicates: Duplicates,
        workers: Executor,
        observe_objects: ObserveObjects,
        registered_stores: RegisteredStores,
        store_objects: StoreObjects,
        pending: PendingImages,
        scan_window: int,
        clock: Clock,
    ) -> None:
        self.by_type: dict[str, PagedWork] = {
            "sweep": Sweep(stores, images, index, vector_states, thumbnails_kept, clock),
            "storage-optimisation": OptimiseStorage(stores, images, thumbnails_kept, clock),
            "duplicate-scan": ScanDuplicates(stores, images, index, duplicates, workers, clock),
            "store-scan": ScanStore(observe_objects, stores, registered_stores, store_objects, pending, scan_window),
        }
