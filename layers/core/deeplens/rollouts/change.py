"""The steps in which a tenant changes its embedding model, each with its preconditions."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.embedding.ports import Embedder
from deeplens.errors import ApiError, ModelNotFound, ObjectNotFound
from deeplens.events.ids import with_follow_up_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.keys import processed_key
from deeplens.images.model import MediaQuery
from deeplens.images.ports import ImageRepository
from deeplens.rollouts.advance import TENANT_CACHED_AT_MOST, rollout_slice
from deeplens.rollouts.model import Rollout, Rollouts, VectorStates
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import SearchFilter, VectorIndex

PROBED_IMAGES = 8
NEAREST = 10


@dataclass(frozen=True)
class ChangeModel:
    """Start, compare, cut over, roll back and end a rollout.

    While one runs, every image is embedded with both models and a back-fill embeds the older ones; searches use the
    old model until the cut-over, which is one UPDATE, as is the way back.
    """

    rollouts: Rollouts
    vector_states: VectorStates
    images: ImageRepository
    stores: StoreResolver
    index: VectorIndex
    embedder: Embedder
    clock: Clock

    def profile(self, tenant: Tenant, name: str, version: str) -> ModelProfile:
        """The model as its endpoint describes it. Raises ``ApiError`` when it cannot be rolled out."""
        rollouts = self.rollouts.of_tenant(tenant.id)
        if any(rollout.ended_at is None for rollout in rollouts):
            raise _running()
        try:
            profile = self.embedder.describe(name, version)
        except ModelNotFound as error:
            detail = f"{error}. Install it first: deeplens models add DIR."
            raise ApiError(409, "model-not-served", "Model not served", detail) from None
        if profile.ref in tenant.models:
            raise ApiError(409, "model-in-use", "Model in use", f"{tenant.id} already uses {name} {version}.")
        if any(rollout.retired_model == profile.ref and rollout.dropped_at is None for rollout in rollouts):
            detail = "Its vectors of an earlier rollout are still being removed; try again in two minutes."
            raise ApiError(409, "model-being-removed", "Model being removed", detail, {"Retry-After": "120"})
        return profile

    def seconds_per_image(self, tenant: Tenant, model: ModelRef) -> float | None:
        """The time to embed one of the tenant's newest images; None if it has none. Raises what embedding raises."""
        store = self.stores.for_tenant(tenant)
        bodies = []
        for image in self.images.page(tenant, MediaQuery(limit=PROBED_IMAGES, statuses=("completed",))):
            # The image may have been deleted meanwhile.
            with suppress(ObjectNotFound):
                bodies.append(store.get(processed_key(image.id)))
        if not bodies:
            return None
        self.embedder.embed(bodies[:1], model)
        started = time.perf_counter()
        self.embedder.embed(bodies, model)
        return (time.perf_counter() - started) / len(bodies)

    def start(self, tenant: Tenant, profile: ModelProfile) -> tuple[Rollout, ImageMaintenance]:
        """Create the collection and begin to write both models; returns the event that starts the back-fill, too."""
        self.rollouts.register(profile)
        self.index.create_collection(tenant.using(profile.ref))
        now = self.clock.now()
        rollout = self.rollouts.start(tenant, profile.ref, new_id("rol", now), now)
        if rollout is None:
            raise _running()
        return rollout, self.next_slice(rollout)

    def next_slice(self, rollout: Rollout) -> ImageMaintenance:
        """The event of the next slice; if it is lost, the schedule sends it again within a minute."""
        now = self.clock.now()
        return with_follow_up_id(rollout_slice(rollout, now), "rollout", rollout.id, int(now.timestamp()))

    def compare(self, tenant: Tenant, rollout: Rollout, queries: int) -> list[tuple[str, float]]:
        """(image_id, overlap@10) of a sample of queries, least overlap first."""
        both = [tenant.using(model) for model in (rollout.source, rollout.target)]
        sample = self.vector_states.sample(tenant, rollout.target, queries)
        overlaps = [(image_id, overlap(*(self._nearest(owner, image_id) for owner in both))) for image_id in sample]
        return sorted(overlaps, key=lambda query: query[1])

    def _nearest(self, owner: Tenant, image_id: str) -> list[str]:
        vector = self.index.vector_of(owner, image_id)
        if vector is None:
            return []
        where = SearchFilter(exclude_image_ids=(image_id,))
        return [match.image_id for match in self.index.search(owner, vector, limit=NEAREST, where=where)]

    def cut_over(self, tenant: Tenant, rollout: Rollout, allow_missing: int) -> int:
        """Search with the new model from now on, unless more than ``allow_missing`` images lack its vectors.

        Returns how many lack them if those are too many; otherwise 0.
        """
        _require(rollout, "running", "cut over")
        now = self.clock.now()
        if now < earliest_cut_over(rollout):
            wait = max(1, round((earliest_cut_over(rollout) - now).total_seconds()))
            detail = f"Running functions may still use the old row; try again in {wait} s."
            raise ApiError(409, "rollout-too-young", "Rollout too young", detail, {"Retry-After": str(wait)})
        missing = self.missing(tenant, rollout.target)
        if missing > allow_missing:
            return missing
        _require_changed(self.rollouts.swap(rollout, now))
        return 0

    def missing(self, tenant: Tenant, model: ModelRef) -> int:
        """Completed images without a vector of the model."""
        return self.vector_states.counts(tenant, model).missing

    def roll_back(self, rollout: Rollout) -> None:
        """Search with the old model again; both are still written, so nothing is missing."""
        _require(rollout, "cut-over", "roll back")
        _require_changed(self.rollouts.swap(rollout, self.clock.now()))

    def end(self, rollout: Rollout, state: str) -> None:
        """Finish after a cut-over, or cancel before it; the other model's vectors are removed within two minutes."""
        _require(rollout, state, "end")
        _require_changed(self.rollouts.end(rollout, self.clock.now()))


def earliest_cut_over(rollout: Rollout) -> datetime:
    return rollout.dual_since + TENANT_CACHED_AT_MOST


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of common results, of the longer list; 1 when both are empty."""
    longest = max(len(first), len(second))
    return len(set(first) & set(second)) / longest if longest else 1.0


def seconds_left(rollout: Rollout, done: int, missing: int, now: datetime) -> int | None:
    """Extrapolates the pace so far; None before any image is done."""
    if not missing:
        return 0
    return round((now - rollout.created_at).total_seconds() * missing / done) if done else None


def _require(rollout: Rollout, state: str, action: str) -> None:
    if rollout.state != state:
        detail = f"This rollout is {rollout.state}; to {action} it must be {state}."
        raise ApiError(409, "rollout-state", "Rollout in another state", detail)


def _running() -> ApiError:
    detail = "A rollout of this tenant has not ended; finish or cancel it first."
    return ApiError(409, "rollout-running", "Rollout running", detail)


def _require_changed(changed: bool) -> None:
    if not changed:
        detail = "Another request changed it at the same time; read it again."
        raise ApiError(409, "rollout-state", "Rollout in another state", detail)
