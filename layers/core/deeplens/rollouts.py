"""Which images have a vector of which model, and a tenant's change from one model to another."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Literal

from deeplens.domain import ModelRef


class VectorStep(IntEnum):
    """How far an image has come with one model. A back-fill's images wait, then are requested a window at a time."""

    WAITING = 0
    REQUESTED = 1
    FAILED = 2
    INDEXED = 3


@dataclass(frozen=True, slots=True)
class VectorState:
    """What is known of one image and one model."""

    image_id: str
    model: ModelRef
    generation: int
    step: VectorStep
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class VectorCounts:
    """A model's coverage of a tenant's searchable images.

    Attributes
    ----------
    images : completed ones.
    missing : those without a vector of the model, ``failed`` ones included.
    """

    images: int
    missing: int
    waiting: int
    requested: int
    failed: int


type RolloutState = Literal["running", "cut-over", "finished", "cancelled"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A tenant's change from one model to another.

    Attributes
    ----------
    dual_since : from when on new images were embedded with both models, but for processes that remembered the row.
    ended_at : when it was finished or cancelled; the collection of the model that lost is dropped some seconds later.
    """

    id: str
    tenant_id: str
    source: ModelRef
    target: ModelRef
    state: RolloutState
    dual_since: datetime
    created_at: datetime
    cut_over_at: datetime | None = None
    ended_at: datetime | None = None
    dropped_at: datetime | None = None

    @property
    def loser(self) -> ModelRef | None:
        """The model that an ended rollout leaves behind."""
        return {"finished": self.source, "cancelled": self.target}.get(self.state)
