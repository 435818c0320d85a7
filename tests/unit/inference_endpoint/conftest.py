"""Create model folders with a tiny model whose embedding is an image's mean colour."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from functions.inference_endpoint.training.graph import Graph

SIDE = 8

type NewModel = Callable[..., Path]


@pytest.fixture
def new_model(tmp_path: Path) -> NewModel:
    """Return a function that writes ``NAME/VERSION`` below ``tmp_path``; ``changes`` are merged into its manifest."""

    def new(name: str = "tiny", version: str = "1", body: bytes | None = None, **changes: Any) -> Path:
        folder = tmp_path / name / version
        folder.mkdir(parents=True)
        body = mean_colour() if body is None else body
        (folder / "model.onnx").write_bytes(body)
        manifest = {
            "name": name,
            "version": version,
            "dimensions": 3,
            "input": {"size": SIDE, "resize": "squash"},
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "sha256": hashlib.sha256(body).hexdigest(),
            "default_threshold": 0.5,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))
        return folder

    return new


def mean_colour() -> bytes:
    graph = Graph()
    return graph.model("pixels", graph.flat(graph.pool("pixels", SIDE)), SIDE, 3).SerializeToString()


@pytest.fixture(scope="session")
def workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4)
