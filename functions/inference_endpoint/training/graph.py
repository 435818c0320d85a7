"""Write ONNX graphs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

type Array = npt.NDArray[Any]
OPSET, IR_VERSION = 17, 9


class Graph:
    """An ONNX graph under construction; each method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: Array) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def scalar(self, kind: str, value: str, number: float) -> str:
        return self.node(kind, value, self.constant(np.array(number, np.float32)))

    def conv(self, value: str, kernels: Array, *, bias: Array | None = None, stride: int = 1) -> str:
        """Add a convolution that is padded by half its kernel; ``kernels`` has shape (out, in, k, k)."""
        pad = kernels.shape[-1] // 2
        arrays = [kernels] if bias is None else [kernels, bias]
        weights = [self.constant(array.astype(np.float32)) for array in arrays]
        return self.node("Conv", value, *weights, pads=[pad] * 4, strides=[stride] * 2)

    def pool(self, value: str, kernel: int) -> str:
        """Add the mean over blocks of ``kernel`` × ``kernel``; with a fixed kernel, all runtimes agree."""
        return self.node("AveragePool", value, kernel_shape=[kernel, kernel], strides=[kernel, kernel])

    def flat(self, value: str) -> str:
        return self.node("Flatten", value, axis=1)

    def join(self, values: list[str], axis: int = 1) -> str:
        return self.node("Concat", *values, axis=axis)

    def model(self, source: str, result: str, input_side: int, dimensions: int | str) -> onnx.ModelProto:
        """Return the finished model: ``pixels`` (n, 3, side, side) RGB 0..1 → ``embedding`` (n, dimensions)."""
        nodes = [*self._nodes, helper.make_node("Identity", [result], ["embedding"])]
        pixels = helper.make_tensor_value_info(source, TensorProto.FLOAT, ["n", 3, input_side, input_side])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimensions])
        graph = helper.make_graph(nodes, "deeplens-visual", [pixels], [embedding], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deeplens")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model
