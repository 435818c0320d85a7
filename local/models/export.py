"""``deeplens models export``: write CLIP and ResNet-50 as model folders, with published or random weights."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from functions.inference_endpoint.manifest import Manifest
from functions.inference_endpoint.model import pixels_of
from local.demo.photos import scikit_image_photos
from local.models import architectures, pretrained, tokenizer
from local.models.precision import Floats, Precision, in_precision
from local.services import ServiceFailed

type Files = dict[str, bytes]

CLIP = "clip-vit-base"
CONTEXT_TOKENS = 77
EXPORT_PACKAGES = ("torch", "torchvision", "transformers", "onnxscript")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The functions that make a model's files, and its manifest without checksums.

    Attributes
    ----------
    pretrained, random : make ``model.onnx`` and, for CLIP, ``text.onnx`` and ``tokenizer.json``.
    thresholds : starting values for the published weights; operators should measure them on their photos.
    """

    pretrained: Callable[[], Files]
    random: Callable[[], Files]
    manifest: dict[str, Any]
    thresholds: dict[str, float]


RECIPES = {
    CLIP: Recipe(
        pretrained=pretrained.clip,
        random=lambda: {
            "model.onnx": architectures.clip_vision(),
            "text.onnx": architectures.clip_text(),
            "tokenizer.json": tokenizer.byte_tokenizer(),
        },
        manifest={
            "description": "CLIP ViT-B/32: concepts, and texts beside images.",
            "dimensions": 512,
            "input": {"name": "pixels", "size": 224, "resize": "crop"},
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
        },
        thresholds={"exact": 0.99, "near_duplicate": 0.93, "similar": 0.8},
    ),
    "resnet50": Recipe(
        pretrained=pretrained.resnet50,
        random=lambda: {"model.onnx": architectures.resnet50()},
        manifest={
            "description": "ResNet-50, ImageNet features before the classifier: objects and textures.",
            "dimensions": 2048,
            "input": {"name": "pixels", "size": 224, "resize": "crop", "shortest": 232, "filter": "bilinear"},
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        thresholds={"exact": 0.99, "near_duplicate": 0.9, "similar": 0.7},
    ),
}


def export(name: str, out: Path, *, precision: Precision, version: str, random_weights: bool) -> Path:
    """Write and return the folder ``out/NAME/VERSION``. Raises ``ServiceFailed`` if that is not possible."""
    if name not in RECIPES:
        raise ServiceFailed(f"there is no recipe for {name}; choose {' or '.join(RECIPES)}")
    recipe, folder = RECIPES[name], out / name / version
    if folder.exists():
        raise ServiceFailed(f"{folder} exists; choose another --version or --out")
    if not random_weights:
        _require_packages()
    files = recipe.random() if random_weights else recipe.pretrained()
    converted = {
        key: in_precision(body, precision, lambda: _photos(recipe)) if key.endswith(".onnx") else body
        for key, body in files.items()
    }
    manifest = _manifest(name, version, recipe, converted, random_weights)
    folder.mkdir(parents=True)
    for key, body in converted.items():
        (folder / key).write_bytes(body)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return folder


def _photos(recipe: Recipe) -> Floats:
    """Return scikit-image's photos as the model's input."""
    placeholders = {"name": "draft", "version": "0", "sha256": "0" * 64, "default_threshold": 0}
    draft = Manifest.model_validate(recipe.manifest | placeholders)
    return np.stack([pixels_of(photo.body, draft) for photo in scikit_image_photos()])


def _manifest(name: str, version: str, recipe: Recipe, files: Files, random_weights: bool) -> dict[str, Any]:
    digests = {key: hashlib.sha256(body).hexdigest() for key, body in files.items()}
    thresholds = {} if random_weights else {"thresholds": recipe.thresholds}
    return {
        "name": name,
        "version": version,
        **recipe.manifest,
        "output": _output_of(files["model.onnx"]),
        "sha256": digests["model.onnx"],
        "default_threshold": recipe.thresholds["similar"],
        **thresholds,
        **({"text": _text_rule(files, digests)} if "text.onnx" in files else {}),
    }


def _text_rule(files: Files, digests: dict[str, str]) -> dict[str, Any]:
    return {
        "context_length": CONTEXT_TOKENS,
        "output": _output_of(files["text.onnx"]),
        "sha256": digests["text.onnx"],
        "tokenizer_sha256": digests["tokenizer.json"],
    }


def _output_of(body: bytes) -> str:
    return str(onnx.load_from_string(body).graph.output[0].name)


def _require_packages() -> None:
    missing = [package for package in EXPORT_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ServiceFailed(
            f"{', '.join(missing)} not installed: run `uv sync --inexact --group export` where there is internet, "
            "or use --random-weights for a test"
        )
