"""A tenant's change of model, step by step; what each step requires stands in it."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import fmean

from deeplens.common.ids import new_id
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.embedding.ports import Embedder
from deeplens.errors import ApiError, ModelNotFound, ObjectNotFound
from deeplens.events.ids import follow_up_id
from deeplens.images.keys import processed_key
from deeplens.images.model import ImageQuery
from deeplens.images.ports import ImageRepository
from deeplens.rollouts.advance import REMEMBERED
from deeplens.rollouts.model import Rollout, Rollouts, VectorStates
from deeplens.rollouts.tick import rollout_slice
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import SearchFilter, VectorIndex

PROBED = 8
NEAREST = 10


class ChangeModel:
    """Start, compare, cut over, roll back and end a rollout.

    While one runs, every image is embedded with both models and a back-fill embeds the older ones; searches use the
    old model until the cut-over, which is one UPDATE, as is the way back.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        vector_states: VectorStates,
        images: ImageRepository,
        stores: StoreResolver,
        index: VectorIndex,
        embedder: Embedder,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._rollouts, self._states, self._images, self._stores = rollouts, vector_states, images, stores
        self._index, self._embedder, self._publisher, self._clock = index, embedder, publisher, clock

    def profile(self, tenant: Tenant, name: str, version: str) -> ModelProfile:
        """The model as its endpoint describes it. Raises ``ApiError`` when it cannot be rolled out."""
        if any(one.ended_at is None for one in self._rollouts.of_tenant(tenant.id)):
            raise _running()
        try:
            profile = self._embedder.describe(name, version)
        except ModelNotFound as error:
            detail = f"{error}. Install it first: deeplens models add DIR."
            raise ApiError(409, "model-not-served", "Model not served", detail) from None
        if profile.ref in tenant.models:
            raise ApiError(409, "model-in-use", "Model in use", f"{tenant.id} already uses {name} {version}.")
        if any(one.loser == profile.ref and one.dropped_at is None for one in self._rollouts.of_tenant(tenant.id)):
            detail = "Its vectors of an earlier rollout are still being removed; try again in two minutes."
            raise ApiError(409, "model-being-removed", "Model being removed", detail, {"Retry-After": "120"})
        return profile

    def seconds_per_image(self, tenant: Tenant, model: ModelRef) -> float | None:
        """Measured on the tenant's newest images, which also shows that the model can embed them."""
        store = self._stores.for_tenant(tenant)
        bodies = []
        for image in self._images.page(tenant, ImageQuery(limit=PROBED, statuses=("completed",))):
            try:
                bodies.append(store.get(processed_key(image.id)))
            except ObjectNotFound:
                continue  # deleted meanwhile
        if not bodies:
            return None
        self._embedder.embed(bodies[:1], model)
        started = time.perf_counter()
        self._embedder.embed(bodies, model)
        return (time.perf_counter() - started) / len(bodies)

    def start(self, tenant: Tenant, profile: ModelProfile) -> Rollout:
        """Make the collection, begin to write both models, and set the back-fill off."""
        self._rollouts.register(profile)
        self._index.create_collection(tenant.using(profile.ref))
        now = self._clock.now()
        rollout = self._rollouts.start(tenant, profile.ref, new_id("rol", now), now)
        if rollout is None:
            raise _running()
        self.carry_on(rollout)
        return rollout

    def carry_on(self, rollout: Rollout) -> None:
        """Ask for the next slice now; if that is lost, the schedule asks again within a minute."""
        now = self._clock.now()
        event = rollout_slice(rollout).model_copy(update={"requested_at": now})
        self._publisher.publish([OutgoingMessage(event, follow_up_id("rollout", rollout.id, int(now.timestamp())))])

    def compare(self, tenant: Tenant, rollout: Rollout, queries: int) -> list[tuple[str, float]]:
        """(image_id, overlap@10) of a sample of queries, least overlap first."""
        both = [tenant.using(model) for model in (rollout.source, rollout.target)]
        asked = self._states.sample(tenant, rollout.target, queries)
        found = [(image_id, overlap(*(self._nearest(owner, image_id) for owner in both))) for image_id in asked]
        return sorted(found, key=lambda one: one[1])

    def _nearest(self, owner: Tenant, image_id: str) -> list[str]:
        vector = self._index.vector_of(owner, image_id)
        if vector is None:
            return []
        where = SearchFilter(exclude_image_ids=(image_id,))
        return [match.image_id for match in self._index.search(owner, vector, limit=NEAREST, where=where)]

    def cut_over(self, tenant: Tenant, rollout: Rollout, allow_missing: int) -> None:
        """Search with the new model from now on. Raises ``ApiError`` while images lack its vectors."""
        _require(rollout, "running", "cut over")
        now = self._clock.now()
        if now < earliest_cut_over(rollout):
            wait = max(1, round((earliest_cut_over(rollout) - now).total_seconds()))
            detail = f"Running functions may still remember the old row; try again in {wait} s."
            raise ApiError(409, "rollout-too-young", "Rollout too young", detail, {"Retry-After": str(wait)})
        missing = self._states.counts(tenant, rollout.target).missing
        if missing > allow_missing:
            self.carry_on(rollout)
            detail = f"{missing} images lack a vector of {rollout.target.name}; allowMissing is {allow_missing}."
            raise ApiError(409, "vectors-missing", "Vectors missing", detail, {"Retry-After": "5"})
        self._swap(rollout, now)

    def roll_back(self, rollout: Rollout) -> None:
        """Search with the old model again; both are still written, so nothing is missing."""
        _require(rollout, "cut-over", "roll back")
        self._swap(rollout, self._clock.now())

    def end(self, rollout: Rollout, state: str) -> None:
        """Finish after a cut-over, or cancel before it; the other model's vectors are removed within two minutes."""
        _require(rollout, state, "end")
        if not self._rollouts.end(rollout, self._clock.now()):
            raise _changed()

    def _swap(self, rollout: Rollout, now: datetime) -> None:
        if not self._rollouts.swap(rollout, now):
            raise _changed()


def earliest_cut_over(rollout: Rollout) -> datetime:
    return rollout.dual_since + REMEMBERED


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of common results, of the longer list; 1 when both are empty."""
    longest = max(len(first), len(second))
    return len(set(first) & set(second)) / longest if longest else 1.0


def mean_overlap(found: Sequence[tuple[str, float]]) -> float | None:
    return fmean(share for _, share in found) if found else None


def seconds_left(rollout: Rollout, done: int, missing: int, now: datetime) -> int | None:
    """At the pace so far; None before there is one."""
    elapsed: timedelta = now - rollout.created_at
    return round(elapsed.total_seconds() * missing / done) if done and missing else (0 if not missing else None)


def _require(rollout: Rollout, state: str, action: str) -> None:
    if rollout.state != state:
        detail = f"This rollout is {rollout.state}; to {action} it must be {state}."
        raise ApiError(409, "rollout-state", "Rollout in another state", detail)


def _running() -> ApiError:
    return ApiError(409, "rollout-running", "Rollout running", "Finish or cancel the rollout that runs first.")


def _changed() -> ApiError:
    return ApiError(409, "rollout-state", "Rollout in another state", "Someone else changed it just now; look again.")
