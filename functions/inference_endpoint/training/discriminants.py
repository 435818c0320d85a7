"""Compute the fixed branch: a projection of the filter bank's features by linear discriminant analysis (LDA).

LDA finds the directions in which copies of an image agree and different images differ. It uses the covariances within
and between the views of many images. The former is shrunk, and a direction with eigenvalue w has the weight
w / (w + 0.05).
"""

import multiprocessing
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime
import scipy.linalg
from rich.progress import track

from functions.inference_endpoint.training import filter_bank
from functions.inference_endpoint.training.graph import Array, Graph
from functions.inference_endpoint.training.views import Views, pixels_of

SHRINKAGE, HALF_WEIGHT = 0.002, 0.05
BLOCK_IMAGES = 100
"""Number of images that are processed at a time."""


def bank_features(views: Path) -> Array:
    """Compute the bank's features of a training set on all cores; float32, shape (images, views, d)."""
    images = len(np.load(views, mmap_mode="r"))
    starts = range(0, images, BLOCK_IMAGES)
    with multiprocessing.get_context("spawn").Pool() as pool:
        blocks = pool.imap(partial(_features_of, views), starts)
        return np.concatenate(list(track(blocks, "features of the bank", len(starts))))


def features_of(views: Views) -> Array:
    """Compute features of views (n, 128, 128, 3); float32, shape (n, d)."""
    return np.asarray(_session().run(None, {"pixels": pixels_of(views)})[0])


def _features_of(path: Path, start: int) -> Array:
    block = np.load(path, mmap_mode="r")[start : start + BLOCK_IMAGES]
    return np.stack([features_of(views) for views in block])


@cache
def _session() -> onnxruntime.InferenceSession:
    """Return a session of the bank without projection; it has one thread, because each process handles a block."""
    graph = Graph()
    bank = graph.model("pixels", filter_bank.features(graph, "pixels"), filter_bank.SIDE, "d")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(bank.SerializeToString(), options, providers=["CPUExecutionProvider"])


def discriminants(features: Array, count: int) -> tuple[Array, Array]:
    """Return mean, shape (d,), and projection, shape (d, count), of features of shape (images, views, d)."""
    flat = features.reshape(-1, features.shape[-1])
    mean, spread = flat.mean(0, dtype=np.float64), flat.std(0, dtype=np.float64) + 1e-6
    between, within = np.zeros((2, len(mean), len(mean)))
    for start in range(0, len(features), BLOCK_IMAGES):
        scaled = (features[start : start + BLOCK_IMAGES].astype(np.float64) - mean) / spread
        centres = scaled.mean(1)
        residual = (scaled - centres[:, None]).reshape(-1, len(mean))
        between += centres.T @ centres / len(features)
        within += residual.T @ residual / len(flat)
    span = (len(mean) - count, len(mean) - 1)
    values, vectors = scipy.linalg.eigh(between, _shrink(within), subset_by_index=span)
    weights = np.clip(values, 0, None) / (np.clip(values, 0, None) + HALF_WEIGHT)
    return mean, vectors * weights / spread[:, None]


def _shrink(covariance: Array) -> Array:
    level = np.trace(covariance) / len(covariance)
    return np.asarray((1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(covariance)))
