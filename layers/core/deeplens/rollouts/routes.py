"""/v1/admin/tenants/{id}/models: which model a tenant's images are searched with, and changing it without downtime."""

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from deeplens.access.caller import Administrator
from deeplens.embedding.model import ModelRef
from deeplens.errors import ApiError
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses
from deeplens.http.schemas import ModelVersion
from deeplens.rollouts.change import ChangeModel, earliest_cut_over, mean_overlap, seconds_left
from deeplens.rollouts.model import Rollout
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

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/models", tags=["models"])
SHOWN = 5


def change_of(parts: Admin) -> ChangeModel:
    return ChangeModel(
        parts.rollouts,
        parts.vector_states,
        parts.images,
        parts.stores,
        parts.index,
        parts.embedder,
        parts.publisher,
        parts.clock,
    )


def rollout_in_path(
    parts: Admin, tenant: Administrator, rollout_id: Annotated[str, Path(examples=["rol_01kd1v8q4w2m6n9r5t7x3z0abc"])]
) -> Rollout:
    found = parts.rollouts.find(tenant.id, rollout_id)
    if found is None:
        raise ApiError(404, "rollout-not-found", "Rollout not found", f"{tenant.id} has no rollout {rollout_id[:64]}.")
    return found


Change = Annotated[ChangeModel, Depends(change_of)]
InPath = Annotated[Rollout, Depends(rollout_in_path)]


@router.get("", summary="Active model and rollouts", responses=responses(404))
def tenant_models(parts: Admin, tenant: Administrator) -> TenantModels:
    rollouts = [summary(rollout) for rollout in parts.rollouts.of_tenant(tenant.id)]
    return TenantModels(active=shown(tenant.model), rollouts=rollouts)


@router.post("", status_code=202, summary="Start a rollout, or estimate one", responses=responses(404, 409))
def start_rollout(
    parts: Admin, tenant: Administrator, change: Change, wanted: RolloutRequest, response: Response
) -> StartedRollout:
    """From now on every new image is embedded with both models; a back-fill embeds the others. Searches do not change.

    A dry run answers 200 with the estimate and changes nothing.
    """
    profile = change.profile(tenant, wanted.model, wanted.version)
    seconds = change.seconds_per_image(tenant, profile.ref)
    images = parts.vector_states.counts(tenant, profile.ref).missing
    estimate = Estimate(
        images=images,
        minutes=None if seconds is None else math.ceil(images * seconds / 60 * 100) / 100,
        milliseconds_per_image=None if seconds is None else round(seconds * 1000, 2),
    )
    if wanted.dry_run:
        response.status_code = 200
        return StartedRollout(estimate=estimate)
    return StartedRollout(rollout=summary(change.start(tenant, profile)), estimate=estimate)


@router.get("/{rollout_id}", summary="State and progress", responses=responses(404))
def rollout_detail(parts: Admin, tenant: Administrator, rollout: InPath) -> RolloutDetail:
    return detail(parts, tenant, rollout)


@router.post("/{rollout_id}/compare", summary="Compare the models' results", responses=responses(404))
def compare_models(
    tenant: Administrator,
    rollout: InPath,
    change: Change,
    sample: Annotated[int, Query(ge=1, le=500, description="queries; each is an image of the tenant")] = 100,
) -> Comparison:
    found = change.compare(tenant, rollout, sample) if rollout.ended_at is None else []
    least = [Disagreement(image_id=image_id, overlap=round(share, 3)) for image_id, share in found[:SHOWN]]
    mean = mean_overlap(found)
    return Comparison(queries=len(found), overlap_at_10=None if mean is None else round(mean, 4), least=least)


@router.post("/{rollout_id}/cut-over", summary="Search with the new model", responses=responses(404, 409))
def cut_over(
    parts: Admin, tenant: Administrator, rollout: InPath, change: Change, wanted: CutOverRequest | None = None
) -> RolloutDetail:
    """One UPDATE, in effect everywhere within ten seconds. The old model stays up to date, so that it can go back."""
    change.cut_over(tenant, rollout, wanted.allow_missing if wanted else 0)
    return after(parts, rollout)


@router.post("/{rollout_id}/roll-back", summary="Search with the old model again", responses=responses(404, 409))
def roll_back(parts: Admin, rollout: InPath, change: Change) -> RolloutDetail:
    change.roll_back(rollout)
    return after(parts, rollout)


@router.post("/{rollout_id}/finish", summary="Drop the old model", responses=responses(404, 409))
def finish(parts: Admin, rollout: InPath, change: Change) -> RolloutDetail:
    """There is no way back: the old model's vectors are removed."""
    change.end(rollout, "cut-over")
    return after(parts, rollout)


@router.post("/{rollout_id}/cancel", summary="Drop the new model", responses=responses(404, 409))
def cancel(parts: Admin, rollout: InPath, change: Change) -> RolloutDetail:
    change.end(rollout, "running")
    return after(parts, rollout)


def after(parts: AdminParts, rollout: Rollout) -> RolloutDetail:
    """What the rollout has become."""
    latest = parts.rollouts.find(rollout.tenant_id, rollout.id) or rollout
    return detail(parts, parts.tenants.get(rollout.tenant_id, fresh=True), latest)


def detail(parts: AdminParts, tenant: Tenant, rollout: Rollout) -> RolloutDetail:
    return RolloutDetail(**dict(summary(rollout)), progress=progress(parts, tenant, rollout))


def progress(parts: AdminParts, tenant: Tenant, rollout: Rollout) -> RolloutProgress | None:
    if rollout.ended_at is not None:
        return None
    counts = parts.vector_states.counts(tenant, rollout.target)
    done = counts.images - counts.missing
    return RolloutProgress(
        images=counts.images,
        done=done,
        failed=counts.failed,
        missing=counts.missing,
        percent=round(100 * done / counts.images, 1) if counts.images else 100.0,
        seconds_left=seconds_left(rollout, done, counts.missing, parts.clock.now()),
    )


def summary(rollout: Rollout) -> RolloutSummary:
    return RolloutSummary(
        rollout_id=rollout.id,
        state=rollout.state,
        source=shown(rollout.source),
        target=shown(rollout.target),
        created_at=rollout.created_at,
        cut_over_from=earliest_cut_over(rollout),
        cut_over_at=rollout.cut_over_at,
        ended_at=rollout.ended_at,
        dropped_at=rollout.dropped_at,
    )


def shown(model: ModelRef) -> ModelVersion:
    return ModelVersion(name=model.name, version=model.version)
