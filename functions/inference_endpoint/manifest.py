"""A model's folder: ``manifest.json`` beside ``model.onnx``, checked before the model serves."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelRefused(Exception):
    """The folder does not hold what its manifest says; the message names the folder and the fault."""


class InputRule(BaseModel):
    """How an image becomes the model's input: ``squash`` to a square, or the middle of the shortest side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "pixels"
    size: int = Field(gt=0, le=1024)
    resize: Literal["squash", "crop"]


class Thresholds(BaseModel):
    """Least cosines of the labels that results carry, highest first; measured per model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exact: float = Field(ge=-1, le=1)
    near_duplicate: float = Field(ge=-1, le=1)
    similar: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _descend(self) -> Self:
        if not self.exact >= self.near_duplicate >= self.similar:
            raise ValueError("thresholds must not rise: exact, near_duplicate, similar")
        return self


class Manifest(BaseModel):
    """``mean`` and ``std`` apply to RGB 0..1; ``default_threshold`` is the cosine of what counts as similar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    description: str = ""
    dimensions: int = Field(gt=0, le=8192)
    input: InputRule
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: str = "embedding"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    default_threshold: float = Field(ge=-1, le=1)
    thresholds: Thresholds | None = None

    def thresholds_as_parameters(self) -> dict[str, float]:
        """As the protocol's flat parameters, ``threshold_exact`` and so on."""
        given = self.thresholds.model_dump() if self.thresholds else {}
        return {f"threshold_{name}": value for name, value in given.items()}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder. Raises ``ModelRefused`` when it or the model's sha256 is wrong."""
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{folder}: {error}") from error
    if digest != manifest.sha256:
        raise ModelRefused(f"{folder}/model.onnx: sha256 is {digest}, the manifest says {manifest.sha256}")
    return manifest
