"""/v1/admin/tenants/{id}/models: which model a tenant's images are searched with, and changing it without downtime."""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from deeplens.access.caller import Administrator
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.http.schemas import ModelVersion, view
from deeplens.rollouts.change import ChangeModel, earliest_cut_over, seconds_left
from deeplens.rollouts.model import Rollout, Rollouts, VectorStates
from deeplens.rollouts.schemas import (
    Comparison,
    CutOverRequest,
    Disagreement,
    Estimate,
    RolloutDetail,
    RolloutProgress,
    RolloutRequest,
    RolloutSummary,
    StartedRollout,
    TenantModels,
)
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/models", tags=["models"])
MAX_LEAST_OVERLAPS = 5


@dataclass(frozen=True)
class DescribeRollout:
    """Show the state and progress of a rollout."""

    rollouts: Rollouts
    tenants: TenantDirectory
    vector_states: VectorStates
    clock: Clock

    def __call__(self, tenant: Tenant, rollout: Rollout) -> RolloutDetail:
        progress = self._progress(tenant, rollout) if rollout.ended_at is None else None
        return rollout_view(RolloutDetail, rollout, progress=progress)

    def latest(self, rollout: Rollout) -> RolloutDetail:
        """The rollout after a change of it."""
        latest = self.rollouts.find(rollout.tenant_id, rollout.id) or rollout
        return self(self.tenants.get(rollout.tenant_id, fresh=True), latest)

    def _progress(self, tenant: Tenant, rollout: Rollout) -> RolloutProgress:
        counts = self.vector_states.counts(tenant, rollout.target)
        done = counts.images - counts.missing
        percent = round(100 * done / counts.images, 1) if counts.images else 100.0
        left = seconds_left(rollout, done, counts.missing, self.clock.now())
        return view(RolloutProgress, counts, done=done, percent=percent, seconds_left=left)


Change = Injected[ChangeModel]
Describe = Injected[DescribeRollout]


def rollout_in_path(
    tenant: Administrator,
    rollouts: Injected[Rollouts],
    rollout_id: Annotated[str, Path(examples=["rol_01kd1v8q4w2m6n9r5t7x3z0abc"])],
) -> Rollout:
    rollout = rollouts.find(tenant.id, rollout_id)
    if rollout is None:
        detail = f"{tenant.id} has no rollout {rollout_id[:64]}."
        raise ApiError(404, "rollout-not-found", "Rollout not found", detail)
    return rollout


InPath = Annotated[Rollout, Depends(rollout_in_path)]


@router.get("", summary="Active model and rollouts", responses=responses(404))
def tenant_models(tenant: Administrator, rollouts: Injected[Rollouts]) -> TenantModels:
    shown = [rollout_view(RolloutSummary, rollout) for rollout in rollouts.of_tenant(tenant.id)]
    return TenantModels(active=view(ModelVersion, tenant.model), rollouts=shown)


@router.post("", status_code=202, summary="Start a rollout, or estimate one", responses=responses(404, 409))
def start_rollout(
    tenant: Administrator, change: Change, publish: Publishing, request: RolloutRequest, response: Response
) -> StartedRollout:
    """From now on every new image is embedded with both models; a back-fill embeds the others. Searches use the old
    model until the cut-over.

    A dry run answers 200 with the estimate and changes nothing.
    """
    profile = change.profile(tenant, request.model, request.version)
    seconds = change.seconds_per_image(tenant, profile.ref)
    images = change.missing(tenant, profile.ref)
    estimate = Estimate(
        images=images,
        minutes=None if seconds is None else math.ceil(images * seconds / 60 * 100) / 100,
        milliseconds_per_image=None if seconds is None else round(seconds * 1000, 2),
    )
    if request.dry_run:
        response.status_code = 200
        return StartedRollout(estimate=estimate)
    rollout, first = change.start(tenant, profile)
    publish.best_effort([first])
    return StartedRollout(rollout=rollout_view(RolloutSummary, rollout), estimate=estimate)


@router.get("/{rollout_id}", summary="State and progress", responses=responses(404))
def rollout_detail(tenant: Administrator, rollout: InPath, describe: Describe) -> RolloutDetail:
    return describe(tenant, rollout)


@router.post("/{rollout_id}/compare", summary="Compare the models' results", responses=responses(404))
def compare_models(
    tenant: Administrator,
    rollout: InPath,
    change: Change,
    sample: Annotated[int, Query(ge=1, le=500, description="queries; each is an image of the tenant")] = 100,
) -> Comparison:
    overlaps = change.compare(tenant, rollout, sample) if rollout.ended_at is None else []
    least = [
        Disagreement(image_id=image_id, overlap=round(share, 3)) for image_id, share in overlaps[:MAX_LEAST_OVERLAPS]
    ]
    mean = round(fmean(share for _, share in overlaps), 4) if overlaps else None
    return Comparison(queries=len(overlaps), overlap_at_10=mean, least=least)


@router.post("/{rollout_id}/cut-over", summary="Search with the new model", responses=responses(404, 409))
def cut_over(
    tenant: Administrator,
    rollout: InPath,
    change: Change,
    describe: Describe,
    publish: Publishing,
    request: CutOverRequest | None = None,
) -> RolloutDetail:
    """In effect everywhere within ten seconds. The old model's vectors stay up to date, so that you can roll back."""
    allow_missing = request.allow_missing if request else 0
    if missing := change.cut_over(tenant, rollout, allow_missing):
        publish.best_effort([change.next_slice(rollout)])
        detail = f"{missing} images lack a vector of {rollout.target.name}; allowMissing is {allow_missing}."
        raise ApiError(409, "vectors-missing", "Vectors missing", detail, {"Retry-After": "5"})
    return describe.latest(rollout)


@router.post("/{rollout_id}/roll-back", summary="Search with the old model again", responses=responses(404, 409))
def roll_back(rollout: InPath, change: Change, describe: Describe) -> RolloutDetail:
    change.roll_back(rollout)
    return describe.latest(rollout)


@router.post("/{rollout_id}/finish", summary="Drop the old model", responses=responses(404, 409))
def finish(rollout: InPath, change: Change, describe: Describe) -> RolloutDetail:
    """Irreversible: the old model's vectors are removed."""
    change.end(rollout, "cut-over")
    return describe.latest(rollout)


@router.post("/{rollout_id}/cancel", summary="Drop the new model", responses=responses(404, 409))
def cancel(rollout: InPath, change: Change, describe: Describe) -> RolloutDetail:
    change.end(rollout, "running")
    return describe.latest(rollout)


def rollout_view[V: RolloutSummary](schema: type[V], rollout: Rollout, **progress: RolloutProgress | None) -> V:
    return view(
        schema,
        rollout,
        rollout_id=rollout.id,
        source=view(ModelVersion, rollout.source),
        target=view(ModelVersion, rollout.target),
        cut_over_from=earliest_cut_over(rollout),
        **progress,
    )
