"""Read and check a model's folder: its ``manifest.json`` and its ONNX files."""

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


class StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRule(StrictModel):
    """Conversion of an image to the model's input: ``squash`` it to a square, or ``crop`` its middle.

    Attributes
    ----------
    shortest : pixels to which the shortest side is scaled before the crop; default ``size``.
    """

    name: str = "pixels"
    size: int = Field(gt=0, le=1024)
    resize: Literal["squash", "crop"]
    shortest: int | None = Field(default=None, gt=0, le=2048)
    filter: Literal["bicubic", "bilinear"] = "bicubic"

    @property
    def scaled(self) -> int:
        """Pixels of the shortest side after scaling and before the crop."""
        return self.shortest or self.size

    @model_validator(mode="after")
    def _check_shortest(self) -> Self:
        if self.shortest is not None and (self.resize != "crop" or self.shortest < self.size):
            raise ValueError("input.shortest requires resize: crop, and must be at least input.size")
        return self


class TextRule(StrictModel):
    """The text tower: a graph over token ids (n, context_length), int64, and a Hugging Face ``tokenizer.json``."""

    file: str = Field(default="text.onnx", pattern=FILE)
    tokenizer: str = Field(default="tokenizer.json", pattern=FILE)
    context_length: int = Field(gt=0, le=4096)
    input: str = "input_ids"
    output: str = "embedding"
    sha256: str = Field(pattern=SHA256)
    tokenizer_sha256: str = Field(pattern=SHA256)


class Thresholds(StrictModel):
    """Minimum cosine of each label of a search result. They are measured per model."""

    exact: float = Field(ge=-1, le=1)
    near_duplicate: float = Field(ge=-1, le=1)
    similar: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.exact >= self.near_duplicate >= self.similar:
            raise ValueError("thresholds must not increase from exact to near_duplicate to similar")
        return self


class Manifest(StrictModel):
    """A model's description. ``mean`` and ``std`` apply to RGB 0..1; ``default_threshold`` is a cosine."""

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
        """SHA-256 of each file by name."""
        text = {self.text.file: self.text.sha256, self.text.tokenizer: self.text.tokenizer_sha256} if self.text else {}
        return {MODEL: self.sha256, **text}

    def thresholds_as_parameters(self) -> dict[str, float]:
        """Return the protocol's flat parameters, ``threshold_exact`` and so on."""
        thresholds = self.thresholds.model_dump() if self.thresholds else {}
        return {f"threshold_{name}": value for name, value in thresholds.items()}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder. Raises ``ModelRefused``."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{folder / 'manifest.json'}: {error}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise ``ModelRefused`` if a file is missing or does not have the manifest's checksum."""
    for name, expected in manifest.files.items():
        try:
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelRefused(f"{folder}: {error}") from error
        if digest != expected:
            raise ModelRefused(f"{folder / name}: sha256 is {digest}, the manifest says {expected}")
