"""Exports of lower precision are smaller, close to the original, and independent of an image's batch."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import quantize_dynamic

from local.models import architectures, store
from local.models.architectures import Transformer, Vision
from local.models.precision import BLOCK, ZERO, blocks_of, in_precision
from local.services import ServiceFailed
from tests.unit.inference_endpoint.conftest import SIDE, NewModel, mean_colour, new_model  # noqa: F401

WIDE = Vision(Transformer(width=256, layers=2, heads=4, tokens=17, dimensions=64), side=64, patch=16)
GRAPHS = {"clip": lambda: architectures.clip_vision(WIDE), "resnet50": lambda: architectures.resnet50(64, width=16)}


def images(count: int = 6) -> Any:
    """Return inputs, one of which has far larger values than the others."""
    values = np.random.default_rng(0).standard_normal((count, 3, 64, 64)).astype(np.float32)
    values[2] *= 8
    return values


def embedded(body: bytes, pixels: Any) -> Any:
    session = onnxruntime.InferenceSession(body)
    kind = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    embeddings = session.run(None, {"pixels": pixels.astype(kind)})[0].astype(np.float32)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=sorted(GRAPHS))
def original(request: pytest.FixtureRequest) -> bytes:
    return GRAPHS[request.param]()


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.55), ("int8", 0.4)])
def test_a_smaller_precision_gives_a_smaller_file_and_similar_embeddings(
    original: bytes, precision: Any, share: float, tmp_path: Path
) -> None:
    made = in_precision(original, precision, images)

    (tmp_path / "model.onnx").write_bytes(made)
    assert len(made) < share * len(original)
    assert (embedded(made, images()) * embedded(original, images())).sum(1).min() > 0.99
    assert store.precision_of(tmp_path / "model.onnx") == precision


def test_an_image_in_8_bits_has_the_same_embedding_beside_any_other(original: bytes) -> None:
    made = in_precision(original, "int8", images)

    alone = np.concatenate([embedded(made, image[None]) for image in images()])

    assert np.abs(alone - embedded(made, images())).max() < 1e-6


@pytest.mark.parametrize("inner", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_blocks_hold_weights_to_half_a_step(inner: int) -> None:
    weights = np.random.default_rng(inner).standard_normal((5, inner)).astype(np.float32)
    weights[0] = 0

    values, scales = blocks_of(weights)

    steps = scales.reshape(5, -1, 1)
    back = ((values.astype(np.float32) - ZERO) * steps).reshape(5, -1)[:, :inner]
    limit = np.repeat(steps, BLOCK, axis=1).reshape(5, -1)[:, :inner] * 0.501
    assert (np.abs(back - weights) <= limit).all()


def test_a_model_whose_vectors_depend_on_their_neighbours_is_not_added(
    new_model: NewModel,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Quantise dynamically, which takes its scale from the whole batch, which tenants share."""
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    before.write_bytes(GRAPHS["clip"]())
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(before, after, op_types_to_quantize=["MatMul"])
    finally:
        logging.disable(logging.NOTSET)
    changes = {"dimensions": 64, "input": {"size": 64, "resize": "crop"}}

    with pytest.raises(ServiceFailed, match="depend on the other images"):
        store.add(str(new_model(body=after.read_bytes(), **changes)), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_no_graph_is_not_added(new_model: NewModel, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ServiceFailed, match="not an ONNX file"):
        store.add(str(new_model(body=b"\xffnot a graph")), tmp_path / "models")


def test_an_unchanged_precision_is_the_same_file() -> None:
    body = mean_colour()
    assert in_precision(body, "fp32", images) is body
    assert onnx.load_from_string(body).graph.input[0].type.tensor_type.shape.dim[2].dim_value == SIDE
