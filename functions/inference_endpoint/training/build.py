"""Build ``deeplens-visual``: the filter bank, projected by linear discriminants of procedural images.

LDA finds the directions in which copies of one image agree and different images differ: within- and between-class
covariance over augmented views, the former shrunk by 0.002, top 512 directions weighted by w / (w + 1).

``OPENBLAS_NUM_THREADS=1 python -m functions.inference_endpoint.training.build`` repeats the committed file bit by bit
on the same kind of processor; on another, sums round differently and so do the last digits.
"""

import argparse
import hashlib
import json
import multiprocessing
from functools import cache, partial
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

IMAGES, VIEWS, SEED = 6000, 6, 7
DIMENSIONS, SHRINKAGE, HALF_WEIGHT = 512, 0.002, 1.0
BLOCK = 500
"""Images whose views are in memory in double precision."""
NAME, VERSION = "deeplens-visual", "1"
FOLDER = Path(__file__).resolve().parents[1] / "models" / NAME / VERSION


def pixels_of(image: Image.Image) -> Array:
    """float32, shape (3, 128, 128), RGB 0..1: squashed as the server does."""
    side = filter_bank.SIDE
    small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray((np.asarray(small, np.float32) / 255).transpose(2, 0, 1))


@cache
def bank_session() -> onnxruntime.InferenceSession:
    """The bank alone, without a projection; one thread, for views are spread over processes."""
    graph = Graph()
    bank = graph.model("pixels", filter_bank.features(graph, "pixels"), filter_bank.SIDE, "d")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(bank.SerializeToString(), options, providers=["CPUExecutionProvider"])


def features_of(number: int, views: int, seed: int) -> Array:
    """Features of an image's views, float32, shape (views, d); the first view is the image."""
    rng = np.random.default_rng((seed, number))
    original = procedural.image(seed * 1_000_000 + number)
    shown = [original, *(augment.view(rng, original) for _ in range(views - 1))]
    return np.asarray(bank_session().run(None, {"pixels": np.stack([pixels_of(one) for one in shown])})[0])


def collect(images: int, views: int, seed: int) -> Array:
    """Features of every image, float32, shape (images, views, d), made on all cores."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        rows = pool.imap(partial(features_of, views=views, seed=seed), range(images), chunksize=16)
        return np.stack(list(track(rows, description="views of procedural images", total=images)))


def discriminants(features: Array) -> tuple[Array, Array]:
    """Mean, shape (d,), and LDA projection, shape (d, 512)."""
    flat = features.reshape(-1, features.shape[-1])
    mean, spread = flat.mean(0, dtype=np.float64), flat.std(0, dtype=np.float64) + 1e-6
    between, within = np.zeros((2, len(mean), len(mean)))
    for start in range(0, len(features), BLOCK):
        scaled = (features[start : start + BLOCK].astype(np.float64) - mean) / spread
        centres = scaled.mean(1)
        residual = (scaled - centres[:, None]).reshape(-1, len(mean))
        between += centres.T @ centres / len(features)
        within += residual.T @ residual / len(flat)
    span = (len(mean) - DIMENSIONS, len(mean) - 1)
    values, vectors = scipy.linalg.eigh(between, _shrunk(within), subset_by_index=span)
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
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    body = model_of(*discriminants(collect(options.images, options.views, options.seed))).SerializeToString()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "model.onnx").write_bytes(body)
    (options.out / "manifest.json").write_text(json.dumps(manifest_of(body), indent=2) + "\n")
    rich.print(f"{options.out / 'model.onnx'}: {len(body) / 1e6:.1f} MB, sha256 {hashlib.sha256(body).hexdigest()}")


def manifest_of(body: bytes) -> dict[str, object]:
    return {
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


if __name__ == "__main__":
    main()
