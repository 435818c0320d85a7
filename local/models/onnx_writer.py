"""Write layers of common networks as ONNX nodes with seeded random weights."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

type Array = npt.NDArray[Any]
OPSET, IR_VERSION = 17, 9


class Writer:
    """Build a graph in single precision; each method that adds a layer returns the name of its output."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: Array) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def shape(self, *sides: int) -> str:
        return self.constant(np.array(sides, np.int64))

    def weights(self, *shape: int, fan_in: int) -> str:
        """Add normally distributed weights, scaled so that outputs have the scale of the inputs."""
        values = self._rng.standard_normal(shape, np.float32) / np.float32(fan_in**0.5)
        return self.constant(values)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, value: str, inputs: int, outputs: int, bias: bool = True) -> str:
        product = self.node("MatMul", value, self.weights(inputs, outputs, fan_in=inputs))
        return self.node("Add", product, self.constant(np.zeros(outputs, np.float32))) if bias else product

    def conv(self, value: str, inputs: int, outputs: int, kernel: int, stride: int, pad: int) -> str:
        kernels = self.weights(outputs, inputs, kernel, kernel, fan_in=inputs * kernel**2)
        bias = self.constant(np.zeros(outputs, np.float32))
        return self.node("Conv", value, kernels, bias, strides=[stride] * 2, pads=[pad] * 4)

    def norm(self, value: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.node("LayerNormalization", value, self.constant(ones), self.constant(zeros), axis=-1, epsilon=1e-5)

    def model(self, source: tuple[str, int, list[int]], result: str, dimensions: int) -> bytes:
        """Return the finished graph; ``source`` is its input: name, element type, and shape after the batch size."""
        name, kind, sides = source
        nodes = [*self._nodes, helper.make_node("Identity", [result], ["embedding"])]
        source_info = helper.make_tensor_value_info(name, kind, ["n", *sides])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimensions])
        graph = helper.make_graph(nodes, "random", [source_info], [embedding], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deeplens")
        model.ir_version = IR_VERSION
        return bytes(model.SerializeToString())
