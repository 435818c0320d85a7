"""Weights in another precision. An image's embedding stays the same alone and in any batch, whatever the precision."""

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
"""Weights that share a scale: smaller ones are nearer to the original and slower."""
ZERO = 128
MICROSOFT = "com.microsoft"


def in_precision(body: bytes, precision: Precision, photos: Callable[[], Floats]) -> bytes:
    """A float32 graph with its weights in another precision; int8 keeps float32 inputs and outputs.

    Parameters
    ----------
    photos : gives inputs, shape (n, 3, size, size), that show how large values inside an image network become.
    """
    if precision == "fp32":
        return body
    graph = onnx.load_from_string(body)
    # Shapes that an exporter noted contradict those after the change.
    del graph.graph.value_info[:]
    if precision == "fp16":
        return bytes(convert_float_to_float16(graph).SerializeToString())
    # Dynamic quantisation takes its scale from the whole batch: neighbours would change a vector.
    return _in_blocks(graph) if any(_products(graph.graph)) else _calibrated(graph, photos())


def _in_blocks(graph: onnx.ModelProto) -> bytes:
    """Products with constant weights, as transformers consist of, in blocks of 8 bits with a scale each."""
    for node, weights in list(_products(graph.graph)):
        values, scales = blocks_of(numpy_helper.to_array(weights).T)
        names = f"{weights.name}_values", f"{weights.name}_scales"
        graph.graph.initializer.append(numpy_helper.from_array(values, names[0]))
        graph.graph.initializer.append(numpy_helper.from_array(scales, names[1]))
        inner, outputs = weights.dims
        # Level 1 calculates in float32: at level 4 a row of a small batch differs from the same in a large one.
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
    """Rows of weights, shape (n, k), as bytes (n, blocks, BLOCK) around ``ZERO``, and a scale per block."""
    count = -(-weights.shape[1] // BLOCK)
    padded = np.pad(weights, ((0, 0), (0, count * BLOCK - weights.shape[1]))).reshape(len(weights), count, BLOCK)
    scales = np.maximum(np.abs(padded).max(axis=2, keepdims=True), 1e-12) / 127
    return (np.round(padded / scales) + ZERO).astype(np.uint8), scales.reshape(-1).astype(np.float32)


def _products(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    weights = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and (found := weights.get(node.input[1])) and len(found.dims) == 2:
            yield node, found


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _calibrated(graph: onnx.ModelProto, photos: Floats) -> bytes:
    """Convolutions in 8 bits, inside and out, with scales fixed by what photos cause."""
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
    """Photos one at a time, as onnxruntime's calibration asks for them."""

    def __init__(self, name: str, photos: Floats) -> None:
        self._left = iter([{name: one[None]} for one in photos])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._left, None)
