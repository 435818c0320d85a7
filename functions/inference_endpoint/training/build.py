"""Build ``deeplens-visual``: the filter bank, projected by linear discriminants of procedural images.

LDA finds the directions in which copies of one image agree and different images differ: within- and between-class
covariance over augmented views, shrunk by 0.05, top 512 directions weighted by w / (w + 0.3).
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import rich
import scipy.linalg
from PIL import Image
from rich.progress import track

from functions.inference_endpoint.training import augment, filter_bank, procedural
from functions.inference_endpoint.training.graph import Array, Graph

DIMENSIONS, SHRINKAGE, HALF_WEIGHT = 512, 0.05, 0.3
NAME, VERSION = "deeplens-visual", "1"
FOLDER = Path(__file__).resolve().parents[1] / "models" / NAME / VERSION


def pixels_of(image: Image.Image) -> Array:
    """float32, shape (3, 128, 128), RGB 0..1: squashed as the server does."""
    side = filter_bank.SIDE
    small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray((np.asarray(small, np.float32) / 255).transpose(2, 0, 1))


def bank_session() -> onnxruntime.InferenceSession:
    """The bank alone, without a projection."""
    graph = Graph()
    values = filter_bank.features(graph, "pixels")
    probe = graph.model("pixels", values, filter_bank.SIDE, "d")
    return onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])


def collect(images: int, views: int, seed: int) -> Array:
    """Features of ``views`` views of each image, float32, shape (images, views, d); the first view is the image."""
    session = bank_session()
    rows = []
    for number in track(range(images), description="views of procedural images"):
        rng = np.random.default_rng((seed, number))
        original = procedural.image(seed * 1_000_000 + number)
        shown = [original, *(augment.view(rng, original) for _ in range(views - 1))]
        batch = np.stack([pixels_of(one) for one in shown])
        rows.append(session.run(None, {"pixels": batch})[0])
    return np.stack(rows)


def discriminants(features: Array) -> tuple[Array, Array]:
    """Mean, shape (d,), and LDA projection, shape (d, 512)."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    mean, spread = flat.mean(0), flat.std(0) + 1e-6
    scaled = (features.astype(np.float64) - mean) / spread
    centres = scaled.mean(1)
    residual = (scaled - centres[:, None]).reshape(-1, scaled.shape[-1])
    within = _shrunk(residual.T @ residual / len(residual))
    between = centres.T @ centres / len(centres)
    values, vectors = scipy.linalg.eigh(between, within, subset_by_index=(len(mean) - DIMENSIONS, len(mean) - 1))
    weights = np.clip(values, 0, None) / (np.clip(values, 0, None) + HALF_WEIGHT)
    return mean, vectors * weights / spread[:, None]


def _shrunk(covariance: Array) -> Array:
    level = np.trace(covariance) / len(covariance)
    return np.asarray((1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(covariance)))


def model_of(mean: Array, projection: Array) -> onnx.ModelProto:
    graph = Graph()
    values = filter_bank.features(graph, "pixels")
    return graph.model("pixels", filter_bank.embedding(graph, values, mean, projection), filter_bank.SIDE, DIMENSIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    model = model_of(*discriminants(collect(options.images, options.views, options.seed)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    body = model.SerializeToString()
    (FOLDER / "model.onnx").write_bytes(body)
    manifest = {
        "name": NAME,
        "version": VERSION,
        "description": "Finds copies and look-alikes; knows nothing of concepts. Gabor filter bank with LDA.",
        "dimensions": DIMENSIONS,
        "input": {"name": "pixels", "size": filter_bank.SIDE, "resize": "squash"},
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "output": "embedding",
        "sha256": hashlib.sha256(body).hexdigest(),
        "default_threshold": 0.5,
    }
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    rich.print(f"{FOLDER / 'model.onnx'}: {len(body) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
