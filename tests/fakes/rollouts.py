"""In-memory state per image and model, and changes of model: the same promises as PostgreSQL."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.images.model import ImageRecord, Step
from deeplens.rollouts.model import Rollout, VectorCounts, VectorState, VectorStep
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeDirectory, FakeImages

type Key = tuple[str, ModelRef]


class FakeVectorStates:
    """``VectorStates`` beside ``FakeImages``."""

    def __init__(self, images: FakeImages) -> None:
        self._images = images
        self._states: dict[str, dict[Key, VectorState]] = defaultdict(dict)
        self._requested_at: dict[tuple[str, Key], datetime | None] = {}

    def record(self, tenant: Tenant, states: Sequence[VectorState]) -> None:
        known = self._states[tenant.id]
        for state in states:
            before = known.get((state.image_id, state.model))
            newer = before is None or (before.generation, before.step) < (state.generation, state.step)
            if newer and state.image_id in self._images.rows(tenant):
                known[state.image_id, state.model] = state

    def indexed(self, tenant: Tenant, model: ModelRef, image_ids: Sequence[str]) -> set[str]:
        rows = self._images.rows(tenant)
        return {
            image_id
            for image_id in image_ids
            if (state := self._of(tenant, model, image_id))
            and state.step is VectorStep.INDEXED
            and state.generation >= rows[image_id].generation
        }

    def plan(self, tenant: Tenant, model: ModelRef, after: str, limit: int) -> str | None:
        seen = [row for row in self._completed(tenant) if row.id > after][:limit]
        for row in seen:
            state = VectorState(row.id, model, row.generation, VectorStep.WAITING)
            self._states[tenant.id].setdefault((row.id, model), state)
        return seen[-1].id if seen else None

    def release(
        self, tenant: Tenant, model: ModelRef, window: int, overdue: datetime | None = None
    ) -> list[tuple[str, int]]:
        requested = self._at(tenant, model, VectorStep.REQUESTED)
        again = requested if overdue else []
        fresh = self._at(tenant, model, VectorStep.WAITING)[: max(0, window - len(requested))]
        for state in fresh:
            self._states[tenant.id][state.image_id, model] = replace(state, step=VectorStep.REQUESTED)
        rows = self._images.rows(tenant)
        return sorted((state.image_id, rows[state.image_id].generation) for state in (*again, *fresh))

    def counts(self, tenant: Tenant, model: ModelRef) -> VectorCounts:
        steps = [state.step if (state := self._of(tenant, model, row.id)) else None for row in self._completed(tenant)]
        return VectorCounts(
            images=len(steps),
            missing=len(steps) - steps.count(VectorStep.INDEXED),
            waiting=steps.count(VectorStep.WAITING),
            requested=steps.count(VectorStep.REQUESTED),
            failed=steps.count(VectorStep.FAILED),
        )

    def sample(self, tenant: Tenant, model: ModelRef, count: int) -> list[str]:
        ids = [row.id for row in self._completed(tenant)]
        return sorted(self.indexed(tenant, model, ids))[:count]

    def forget(self, tenant: Tenant, model: ModelRef) -> None:
        for key in [key for key in self._states[tenant.id] if key[1] == model]:
            del self._states[tenant.id][key]

    def _of(self, tenant: Tenant, model: ModelRef, image_id: str) -> VectorState | None:
        return self._states[tenant.id].get((image_id, model))

    def _at(self, tenant: Tenant, model: ModelRef, step: VectorStep) -> list[VectorState]:
        found = [s for (_, owner), s in self._states[tenant.id].items() if owner == model and s.step is step]
        return sorted(found, key=lambda state: state.image_id)

    def _completed(self, tenant: Tenant) -> list[ImageRecord]:
        rows = self._images.rows(tenant).values()
        return sorted((row for row in rows if row.step is Step.COMPLETED), key=lambda row: row.id)


class FakeRollouts:
    """``Rollouts`` over the tenants of a ``FakeDirectory``."""

    def __init__(self, tenants: FakeDirectory) -> None:
        self._tenants, self._rollouts = tenants, dict[str, Rollout]()
        self.profiles: dict[ModelRef, ModelProfile] = {}

    def register(self, profile: ModelProfile) -> None:
        self.profiles[profile.ref] = profile

    def start(self, tenant: Tenant, target: ModelRef, rollout_id: str, now: datetime) -> Rollout | None:
        if any(rollout.ended_at is None for rollout in self.of_tenant(tenant.id)):
            return None
        rollout = Rollout(rollout_id, tenant.id, tenant.model, target, "running", now, now)
        self._rollouts[rollout_id] = rollout
        self._tenants.add(replace(self._tenants.get(tenant.id), target=target))
        return rollout

    def swap(self, rollout: Rollout, now: datetime) -> bool:
        states = {"running": ("cut-over", now), "cut-over": ("running", None)}
        if rollout.state not in states or self._rollouts[rollout.id].state != rollout.state:
            return False
        state, at = states[rollout.state]
        self._rollouts[rollout.id] = replace(rollout, state=state, cut_over_at=at)  # type: ignore[arg-type]
        tenant = self._tenants.get(rollout.tenant_id)
        assert tenant.target is not None
        profile = self.profiles.get(tenant.target) or ModelProfile(tenant.target)
        changed = replace(tenant, model=tenant.target, target=tenant.model)
        self._tenants.add(replace(changed, thresholds=profile.thresholds, text=profile.text))
        return True

    def end(self, rollout: Rollout, now: datetime) -> bool:
        states = {"running": "cancelled", "cut-over": "finished"}
        if rollout.state not in states or self._rollouts[rollout.id].state != rollout.state:
            return False
        self._rollouts[rollout.id] = replace(rollout, state=states[rollout.state], ended_at=now)  # type: ignore[arg-type]
        self._tenants.add(replace(self._tenants.get(rollout.tenant_id), target=None))
        return True

    def dropped(self, rollout: Rollout, now: datetime) -> None:
        self._rollouts[rollout.id] = replace(self._rollouts[rollout.id], dropped_at=now)

    def find(self, tenant_id: str, rollout_id: str) -> Rollout | None:
        rollout = self._rollouts.get(rollout_id)
        return rollout if rollout and rollout.tenant_id == tenant_id else None

    def of_tenant(self, tenant_id: str) -> list[Rollout]:
        mine = [rollout for rollout in self._rollouts.values() if rollout.tenant_id == tenant_id]
        return sorted(mine, key=lambda created: created.created_at, reverse=True)

    def unfinished(self, limit: int) -> list[Rollout]:
        rollouts = [
            rollout for rollout in self._rollouts.values() if rollout.dropped_at is None and rollout.state != "cut-over"
        ]
        return sorted(rollouts, key=lambda created: created.created_at)[:limit]
