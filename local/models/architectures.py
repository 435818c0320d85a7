"""Build CLIP and ResNet-50 with random weights: their graphs, shapes and cost are those of the published models.

Radford et al., "Learning transferable visual models from natural language supervision" (ICML 2021); He et al., "Deep
residual learning for image recognition" (CVPR 2016), with the stride in the 3 × 3 convolution.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from local.models.onnx_writer import Writer


@dataclass(frozen=True, slots=True)
class Transformer:
    """Sizes of a tower; ``tokens`` is the length of its sequences."""

    width: int
    layers: int
    heads: int
    tokens: int
    dimensions: int = 512


@dataclass(frozen=True, slots=True)
class Vision:
    tower: Transformer = Transformer(width=768, layers=12, heads=12, tokens=50)
    side: int = 224
    patch: int = 32


@dataclass(frozen=True, slots=True)
class Text:
    tower: Transformer = Transformer(width=512, layers=12, heads=8, tokens=77)
    vocabulary: int = 49_408


def clip_vision(sizes: Vision = Vision(), seed: int = 0) -> bytes:
    """Build the image tower: ``pixels`` (n, 3, side, side) → ``embedding`` (n, dimensions)."""
    graph, tower = Writer(seed), sizes.tower
    width, patches = tower.width, (sizes.side // sizes.patch) ** 2
    patched = graph.conv("pixels", 3, width, sizes.patch, sizes.patch, 0)
    flat = graph.node("Reshape", patched, graph.shape(0, width, patches))
    tokens = graph.node("Transpose", flat, perm=[0, 2, 1])
    # The class token, repeated for each image of the batch: the first patch times zero, plus the token.
    first = graph.node("Slice", tokens, graph.shape(0), graph.shape(1), graph.shape(1))
    zeros = graph.node("Mul", first, graph.constant(np.zeros(1, np.float32)))
    token = graph.node("Add", zeros, graph.weights(1, 1, width, fan_in=width))
    value = graph.node("Concat", token, tokens, axis=1)
    value = graph.node("Add", value, graph.weights(1, patches + 1, width, fan_in=width))
    value = _blocks(graph, graph.norm(value, width), tower, mask=None)
    pooled = graph.node("Gather", value, graph.constant(np.array(0, np.int64)), axis=1)
    result = graph.linear(graph.norm(pooled, width), width, tower.dimensions, bias=False)
    return graph.model(("pixels", TensorProto.FLOAT, [3, sizes.side, sizes.side]), result, tower.dimensions)


def clip_text(sizes: Text = Text(), seed: int = 1) -> bytes:
    """Build the text tower: ``input_ids`` (n, tokens), int64 → ``embedding`` (n, dimensions), at the end token."""
    graph, tower = Writer(seed), sizes.tower
    table = graph.weights(sizes.vocabulary, tower.width, fan_in=tower.width)
    value = graph.node("Gather", table, "input_ids", axis=0)
    value = graph.node("Add", value, graph.weights(1, tower.tokens, tower.width, fan_in=tower.width))
    mask = np.triu(np.full((tower.tokens, tower.tokens), -10_000, np.float32), 1)
    value = graph.norm(_blocks(graph, value, tower, graph.constant(mask)), tower.width)
    # The end token has the highest id; its first position is the end of the text.
    end = graph.node("ArgMax", "input_ids", axis=1, keepdims=1)
    is_end = graph.node("Equal", end, graph.constant(np.arange(tower.tokens, dtype=np.int64)[None]))
    selector = graph.node("Unsqueeze", graph.node("Cast", is_end, to=TensorProto.FLOAT), graph.shape(1))
    pooled = graph.node("Squeeze", graph.node("MatMul", selector, value), graph.shape(1))
    result = graph.linear(pooled, tower.width, tower.dimensions, bias=False)
    return graph.model(("input_ids", TensorProto.INT64, [tower.tokens]), result, tower.dimensions)


def resnet50(side: int = 224, width: int = 64, seed: int = 2) -> bytes:
    """Build ``pixels`` (n, 3, side, side) → ``embedding`` (n, 32 × width): 2,048 numbers at the default width."""
    graph = Writer(seed)
    value = graph.node("Relu", graph.conv("pixels", 3, width, 7, 2, 3))
    value = graph.node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inputs = width
    for stage, count in enumerate((3, 4, 6, 3)):
        inner = width * 2**stage
        for number in range(count):
            value = _bottleneck(graph, value, inputs, inner, 2 if stage and not number else 1)
            inputs = 4 * inner
    last = side // 32
    pooled = graph.node("AveragePool", value, kernel_shape=[last, last], strides=[last, last])
    return graph.model(("pixels", TensorProto.FLOAT, [3, side, side]), graph.node("Flatten", pooled, axis=1), inputs)


def _bottleneck(graph: Writer, value: str, inputs: int, inner: int, stride: int) -> str:
    outputs = 4 * inner
    same = inputs == outputs and stride == 1
    short = value if same else graph.conv(value, inputs, outputs, 1, stride, 0)
    narrow = graph.node("Relu", graph.conv(value, inputs, inner, 1, 1, 0))
    middle = graph.node("Relu", graph.conv(narrow, inner, inner, 3, stride, 1))
    return graph.node("Relu", graph.node("Add", graph.conv(middle, inner, outputs, 1, 1, 0), short))


def _blocks(graph: Writer, value: str, tower: Transformer, mask: str | None) -> str:
    for _ in range(tower.layers):
        value = graph.node("Add", value, _attention(graph, graph.norm(value, tower.width), tower, mask))
        value = graph.node("Add", value, _perceptron(graph, graph.norm(value, tower.width), tower.width))
    return value


def _attention(graph: Writer, value: str, tower: Transformer, mask: str | None) -> str:
    head = tower.width // tower.heads
    split = graph.shape(0, tower.tokens, tower.heads, head)

    def heads(perm: list[int]) -> str:
        return graph.node(
            "Transpose", graph.node("Reshape", graph.linear(value, tower.width, tower.width), split), perm=perm
        )

    query, key, values = heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3])
    scale = graph.constant(np.array(head**-0.5, np.float32))
    similarity = graph.node("Mul", graph.node("MatMul", query, key), scale)
    if mask is not None:
        similarity = graph.node("Add", similarity, mask)
    mixed = graph.node("MatMul", graph.node("Softmax", similarity, axis=-1), values)
    joined = graph.node(
        "Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), graph.shape(0, tower.tokens, tower.width)
    )
    return graph.linear(joined, tower.width, tower.width)


def _perceptron(graph: Writer, value: str, width: int) -> str:
    """Add two linear layers with four times the width between them, and CLIP's approximation of GELU."""
    inner = graph.linear(value, width, 4 * width)
    gate = graph.node("Sigmoid", graph.node("Mul", inner, graph.constant(np.array(1.702, np.float32))))
    return graph.linear(graph.node("Mul", inner, gate), 4 * width, width)
