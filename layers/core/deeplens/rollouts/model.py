"""Which images have a vector of which model, and a tenant's change from one model to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Literal, NewType, Protocol

from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.tenants.model import Tenant

BackfillWindow = NewType("BackfillWindow", int)
"""Images of a tenant that may be embedded again at the same time."""


class VectorStep(IntEnum):
    """How far an image has come with one model. A back-fill's images wait, then are requested a window at a time."""

    WAITING = 0
    REQUESTED = 1
    FAILED = 2
    INDEXED = 3


@dataclass(frozen=True, slots=True)
class VectorState:
    """The state of one image with one model."""

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


RolloutState = Literal["running", "cut-over", "finished", "cancelled"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A tenant's change from one model to another.

    Attributes
    ----------
    dual_since : from when on new images are embedded with both models, except by processes that cached the row.
    ended_at : when it was finished or cancelled; the retired model's collection is dropped some seconds later.
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
    def retired_model(self) -> ModelRef | None:
        """The model that an ended rollout leaves behind."""
        return {"finished": self.source, "cancelled": self.target}.get(self.state)


class VectorStates(Protocol):
    """Which of a tenant's images have a vector of which model (tenant database). Raises ``DatabaseUnavailable``."""

    def record(self, tenant: Tenant, states: Sequence[VectorState]) -> None:
        """Keep states; an older generation never replaces a newer one. Deleted images are ignored."""

    def indexed(self, tenant: Tenant, model: ModelRef, image_ids: Sequence[str]) -> set[str]:
        """Those of ``image_ids`` that have a vector of ``model`` of their row's generation."""

    def plan(self, tenant: Tenant, model: ModelRef, after: str, limit: int) -> str | None:
        """Note those of the next ``limit`` completed images behind ``after`` that lack ``model`` as waiting.

        Returns the last image looked at; None at the end.
        """

    def release(
        self, tenant: Tenant, model: ModelRef, window: int, overdue: datetime | None = None
    ) -> list[tuple[str, int]]:
        """Turn waiting images into requested ones until ``window`` are; returns (image_id, generation) of these.

        Requested before ``overdue``: those are returned again.
        """

    def counts(self, tenant: Tenant, model: ModelRef) -> VectorCounts: ...

    def sample(self, tenant: Tenant, model: ModelRef, count: int) -> list[str]:
        """Random images that have a vector of ``model``, the same at every call while nothing changes."""

    def forget(self, tenant: Tenant, model: ModelRef) -> None:
        """Delete the states of a model that is no longer used."""


class Rollouts(Protocol):
    """Changes of model (platform database). Raises ``DatabaseUnavailable``.

    Each change of state is one transaction with the tenant's row, so that a search reads model and collection from
    one row, whichever it is. False or None: the rollout was not in the state that the change starts from.
    """

    def register(self, profile: ModelProfile) -> None:
        """Store a model's profile; a repeat replaces it."""

    def start(self, tenant: Tenant, target: ModelRef, rollout_id: str, now: datetime) -> Rollout | None:
        """Begin to embed every image with both models. None while another rollout of the tenant has not ended."""

    def swap(self, rollout: Rollout, now: datetime) -> bool:
        """Cut over, or roll back: the searched model and the other one change places."""

    def end(self, rollout: Rollout, now: datetime) -> bool:
        """Keep only the searched model: finish after a cut-over, cancel otherwise."""

    def dropped(self, rollout: Rollout, now: datetime) -> None:
        """Note that the retired model's vectors were removed."""

    def find(self, tenant_id: str, rollout_id: str) -> Rollout | None: ...

    def of_tenant(self, tenant_id: str) -> list[Rollout]:
        """Newest first."""

    def unfinished(self, limit: int) -> list[Rollout]:
        """Over all tenants: those to be filled, and ended ones whose retired model still has vectors. One query."""
