"""Combine both branches into one graph, and write its manifest."""

import hashlib
from pathlib import Path

import onnx

from functions.inference_endpoint.training import filter_bank
from functions.inference_endpoint.training.graph import Array, Graph

BRANCH_DIMENSIONS = 256
NAME, VERSION = "deeplens-visual", "2"
FOLDER = Path(__file__).resolve().parents[1] / "models" / NAME / VERSION
THRESHOLDS = {"exact": 0.97, "near_duplicate": 0.72, "similar": 0.55}
"""Chosen from the figures of `make bench-model`; the model card explains them."""


def model_of(graph: Graph, mean: Array, projection: Array, trained: str) -> onnx.ModelProto:
    """Return the model: ``pixels`` (n, 3, 128, 128), RGB 0..1 → ``embedding`` (n, 512) of length 1.

    Parameters
    ----------
    graph : contains the trained branch.
    mean, projection : mean and projection of the bank's features, shapes (d,) and (d, 256).
    trained : name of the trained branch's features, shape (n, 256).
    """
    bank = filter_bank.project(graph, filter_bank.features(graph, "pixels"), mean, projection)
    halves = [_l2_normalise(graph, branch) for branch in (bank, trained)]
    return graph.model(
        "pixels", graph.scalar("Mul", graph.join(halves), 0.5**0.5), filter_bank.SIDE, 2 * BRANCH_DIMENSIONS
    )


def _l2_normalise(graph: Graph, value: str) -> str:
    length = graph.node("ReduceL2", value, axes=[1], keepdims=1)
    return graph.node("Div", value, graph.scalar("Add", length, 1e-12))


def manifest_of(body: bytes) -> dict[str, object]:
    return {
        "name": NAME,
        "version": VERSION,
        "description": "Finds copies and look-alikes; knows nothing of concepts. Gabor filter bank with LDA beside a "
        "small network, both made from procedural images.",
        "dimensions": 2 * BRANCH_DIMENSIONS,
        "input": {"name": "pixels", "size": filter_bank.SIDE, "resize": "squash"},
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "output": "embedding",
        "sha256": hashlib.sha256(body).hexdigest(),
        "default_threshold": THRESHOLDS["similar"],
        "thresholds": THRESHOLDS,
    }
