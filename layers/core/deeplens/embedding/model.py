"""Embedding models: their identity, thresholds and collections, and the models that come with DeepLens."""

from dataclasses import dataclass
from typing import Literal

type MatchLabel = Literal["exact", "near-duplicate", "similar", "none"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """An embedding model. Vectors of two models, or two versions of one, are never compared."""

    name: str
    version: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Minimum cosine similarity of each match label of a model."""

    exact: float
    near_duplicate: float
    similar: float

    def label(self, score: float) -> MatchLabel:
        if score >= self.exact:
            return "exact"
        if score >= self.near_duplicate:
            return "near-duplicate"
        return "similar" if score >= self.similar else "none"


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """A model as the inference endpoint describes it.

    Attributes
    ----------
    thresholds : None when its manifest gives none; results then carry no label.
    text : whether it embeds text beside images.
    """

    ref: ModelRef
    thresholds: Thresholds | None = None
    text: bool = False


def collection_name(tenant_id: str, model: ModelRef) -> str:
    """One collection per tenant, model and version."""
    return f"{tenant_id}__{model.name}__{model.version}"


BUILT_IN_MODEL = ModelRef("deeplens-visual", "2", 512)
BUILT_IN_MODELS = (
    ModelProfile(ModelRef("deeplens-visual", "1", 512), Thresholds(0.97, 0.62, 0.5)),
    ModelProfile(BUILT_IN_MODEL, Thresholds(0.97, 0.72, 0.55)),
)
"""As in the manifests of the endpoint, so that labels work before the first request to it."""
