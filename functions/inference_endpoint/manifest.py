"""A model's folder: ``manifest.json`` beside its ONNX files, checked before the model serves."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SHA256 = r"^[0-9a-f]{64}$"
FILE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
MODEL = "model.onnx"
MODELS = Path(__file__).parent / "models"
"""Folder of the built-in models."""


class ModelRefused(Exception):
    """The folder does not match its manifest; the message names the folder and the error."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRule(Part):
    """How an image becomes the model's input: ``squash`` to a square, or ``crop`` the middle.

    Attributes
    ----------
    shortest : pixels of the shortest side when the middle is cut out; ``size`` if absent.
    """

    name: str = "pixels"
    size: int = Field(gt=0, le=1024)
    resize: Literal["squash", "crop"]
    shortest: int | None = Field(default=None, gt=0, le=2048)
    filter: Literal["bicubic", "bilinear"] = "bicubic"

    @property
    def scaled(self) -> int:
        """Pixels of the shortest side before anything is cut off."""
        return self.shortest or self.size

    @model_validator(mode="after")
    def _cuts_what_is_there(self) -> Self:
        if self.shortest is not None and (self.resize != "crop" or self.shortest < self.size):
            raise ValueError("input.shortest is for crop, and at least size")
        return self


class TextRule(Part):
    """The text tower: a graph over token ids (n, context_length), int64, and a Hugging Face ``tokenizer.json``."""

    file: str = Field(default="text.onnx", pattern=FILE)
    tokenizer: str = Field(default="tokenizer.json", pattern=FILE)
    context_length: int = Field(gt=0, le=4096)
    input: str = "input_ids"
    output: str = "embedding"
    sha256: str = Field(pattern=SHA256)
    tokenizer_sha256: str = Field(pattern=SHA256)


class Thresholds(Part):
    """Least cosines of the labels that results carry, highest first; measured per model."""

    exact: float = Field(ge=-1, le=1)
    near_duplicate: float = Field(ge=-1, le=1)
    similar: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _descend(self) -> Self:
        if not self.exact >= self.near_duplicate >= self.similar:
            raise ValueError("thresholds must not rise: exact, near_duplicate, similar")
        return self


class Manifest(Part):
    """``mean`` and ``std`` apply to RGB 0..1; ``default_threshold`` is the cosine of what counts as similar."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    description: str = ""
    dimensions: int = Field(gt=0, le=8192)
    input: InputRule
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: str = "embedding"
    sha256: str = Field(pattern=SHA256)
    default_threshold: float = Field(ge=-1, le=1)
    thresholds: Thresholds | None = None
    text: TextRule | None = None

    @property
    def files(self) -> dict[str, str]:
        """sha256 by file name."""
        text = {self.text.file: self.text.sha256, self.text.tokenizer: self.text.tokenizer_sha256} if self.text else {}
        return {MODEL: self.sha256, **text}

    def thresholds_as_parameters(self) -> dict[str, float]:
        """As the protocol's flat parameters, ``threshold_exact`` and so on."""
        given = self.thresholds.model_dump() if self.thresholds else {}
        return {f"threshold_{name}": value for name, value in given.items()}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder. Raises ``ModelRefused``."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{folder / 'manifest.json'}: {error}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise ``ModelRefused`` when a file is not the one that the manifest means."""
    for name, expected in manifest.files.items():
        try:
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelRefused(f"{folder}: {error}") from error
        if digest != expected:
            raise ModelRefused(f"{folder / name}: sha256 is {digest}, the manifest says {expected}")
