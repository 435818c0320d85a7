"""Bodies of ``/v1/admin/tenants/{id}/models``."""

from pydantic import AwareDatetime, Field

from deeplens.http.schemas import ApiModel, ModelName, ModelVersion, Request, Version, example
from deeplens.rollouts.model import RolloutState

MODELS = {"from": {"name": "deeplens-visual", "version": "1"}, "to": {"name": "clip-vit-base", "version": "1"}}
PROGRESS = {"images": 1200, "done": 900, "failed": 0, "missing": 300, "percent": 75.0, "secondsLeft": 60}
ROLLOUT = {
    "rolloutId": "rol_01kd1v8q4w2m6n9r5t7x3z0abc",
    "state": "running",
    **MODELS,
    "createdAt": "2026-11-20T10:30:00Z",
    "cutOverFrom": "2026-11-20T10:30:30Z",
}


class RolloutRequest(Request):
    """The model to search a tenant's images with; the inference endpoint must serve it."""

    model_config = example({"model": "clip-vit-base", "version": "1"})

    model: ModelName
    version: Version
    dry_run: bool = Field(default=False, description="estimate only; start nothing")


class CutOverRequest(Request):
    model_config = example({"allowMissing": 0})

    allow_missing: int = Field(
        default=0, ge=0, description="images that may lack a vector of the new model, e.g. those that it cannot embed"
    )


class Estimate(ApiModel):
    """``minutes`` is measured with the tenant's newest images; null where it has none."""

    model_config = example({"images": 1200, "minutes": 4.1, "millisecondsPerImage": 8.2})

    images: int
    minutes: float | None = None
    milliseconds_per_image: float | None = None


class RolloutSummary(ApiModel):
    model_config = example(ROLLOUT)

    rollout_id: str
    state: RolloutState
    source: ModelVersion = Field(alias="from")
    target: ModelVersion = Field(alias="to")
    created_at: AwareDatetime
    cut_over_from: AwareDatetime = Field(
        description="earliest time of a cut-over: every process has read the tenant anew"
    )
    cut_over_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    dropped_at: AwareDatetime | None = Field(default=None, description="when the other model's vectors were removed")


class StartedRollout(ApiModel):
    """``rollout`` is null for a dry run."""

    model_config = example({"rollout": ROLLOUT, "estimate": {"images": 1200, "minutes": 4.1}})

    rollout: RolloutSummary | None = None
    estimate: Estimate


class RolloutProgress(ApiModel):
    """Of the tenant's completed images; ``missing`` lack a vector of the other model, ``failed`` ones included."""

    model_config = example(PROGRESS)

    images: int
    done: int
    failed: int
    missing: int
    percent: float
    seconds_left: int | None = None


class RolloutDetail(RolloutSummary):
    model_config = example({**ROLLOUT, "progress": PROGRESS})

    progress: RolloutProgress | None = Field(default=None, description="null once it has ended")


class TenantModels(ApiModel):
    model_config = example({"active": MODELS["from"], "rollouts": [ROLLOUT]})

    active: ModelVersion
    rollouts: list[RolloutSummary] = Field(description="newest first")


class Disagreement(ApiModel):
    image_id: str
    overlap: float


class Comparison(ApiModel):
    """How much the ten nearest images of both models overlap, over a sample of the tenant's images as queries."""

    model_config = example(
        {"queries": 100, "overlapAt10": 0.83, "least": [{"imageId": "img_01kd1v8q4w2m6n9r5t7x3z0abc", "overlap": 0.2}]}
    )

    queries: int
    overlap_at_10: float | None = Field(default=None, description="mean share of common results; null without queries")
    least: list[Disagreement] = Field(description="the queries with the least overlap, for review")
