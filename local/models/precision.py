"""Convert a graph's weights to another precision, in which an image's embedding does not depend on its batch."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

type Precision = Literal["fp32", "fp16", "int8"]
type Floats = npt.NDArray[np.float32]

BLOCK = 128
"""Number of weights that share a scale; smaller blocks are more exact and slower."""
ZERO = 128
"""Byte that stands for a weight of 0."""
MICROSOFT = "com.microsoft"


def in_precision(body: bytes, precision: Precision, photos: Callable[[], Floats]) -> bytes:
    """Convert a float32 graph to a precision; int8 graphs have float32 inputs and outputs.

    Parameters
    ----------
    photos : returns inputs, shape (n, 3, size, size), that calibrate the scales inside an image network.
    """
    if precision == "fp32":
        return body
    graph = onnx.load_from_string(body)
    # The exporter's shapes of inner values would contradict the converted graph.
    del graph.graph.value_info[:]
    if precision == "fp16":
        return bytes(convert_float_to_float16(graph).SerializeToString())
    # Not dynamic quantisation: its scales depend on the whole batch, so other images would change a vector.
    return _quantise_products(graph) if any(_products(graph.graph)) else _quantise_convolutions(graph, photos())


def _quantise_products(graph: onnx.ModelProto) -> bytes:
    """Quantise products with constant weights, of which transformers consist, to 8 bits in blocks with a scale each."""
    for node, weights in list(_products(graph.graph)):
        values, scales = blocks_of(numpy_helper.to_array(weights).T)
        names = f"{weights.name}_values", f"{weights.name}_scales"
        graph.graph.initializer.append(numpy_helper.from_array(values, names[0]))
        graph.graph.initializer.append(numpy_helper.from_array(scales, names[1]))
        inner, outputs = weights.dims
        # Level 1 computes in float32. At level 4, a row's result depends on the size of its batch.
        shape = {"K": inner, "N": outputs, "bits": 8, "block_size": BLOCK, "accuracy_level": 1}
        node.attribute.extend(helper.make_attribute(name, value) for name, value in shape.items())
        node.op_type, node.domain = "MatMulNBits", MICROSOFT
        del node.input[1:]
        node.input.extend(names)
    _drop_unused(graph.graph)
    if not any(opset.domain == MICROSOFT for opset in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return bytes(graph.SerializeToString())


def blocks_of(weights: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Quantise rows of weights, shape (n, k), to bytes (n, blocks, BLOCK) around ``ZERO``, with a scale per block."""
    count = -(-weights.shape[1] // BLOCK)
    padded = np.pad(weights, ((0, 0), (0, count * BLOCK - weights.shape[1]))).reshape(len(weights), count, BLOCK)
    scales = np.maximum(np.abs(padded).max(axis=2, keepdims=True), 1e-12) / 127
    return (np.round(padded / scales) + ZERO).astype(np.uint8), scales.reshape(-1).astype(np.float32)


def _products(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    weights = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and (weight := weights.get(node.input[1])) and len(weight.dims) == 2:
            yield node, weight


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _quantise_convolutions(graph: onnx.ModelProto, photos: Floats) -> bytes:
    """Quantise weights and activations of convolutions to 8 bits, with fixed scales calibrated on photos."""
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name) / "before.onnx", Path(name) / "after.onnx"
        onnx.save(graph, before)
        inputs = _Inputs(graph.graph.input[0].name, photos)
        quantize_static(
            before,
            after,
            inputs,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        return after.read_bytes()


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """Yield photos one at a time, in the form that onnxruntime's calibration needs."""

    def __init__(self, name: str, photos: Floats) -> None:
        self._remaining = iter([{name: photo[None]} for photo in photos])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._remaining, None)
