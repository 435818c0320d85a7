"""Define the trained branch, a small residual network in PyTorch, and write it as ONNX nodes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from functions.inference_endpoint.training.graph import Array, Graph

WIDTHS, BLOCKS = (32, 64, 128, 208), (2, 2, 2, 1)
FEATURES = 256
FLOOR = 1e-4


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut, which is a 1 × 1 convolution if the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        changes = stride > 1 or inputs != outputs
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.short_norm = nn.BatchNorm2d(outputs) if changes else None

    def forward(self, value: Tensor) -> Tensor:
        short = self.short_norm(self.short(value)) if self.short is not None and self.short_norm is not None else value
        inner = functional.relu(self.first_norm(self.first(value)))
        return functional.relu(self.second_norm(self.second(inner)) + short)


class Network(nn.Module):
    """Map pixels (n, 3, side, side), RGB 0..1, to features (n, 256), L2-normalised.

    The last two stages are pooled by their cubic mean (GeM, Radenović et al., TPAMI 2019), for details and for layout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(WIDTHS[0])
        inputs, stages = WIDTHS[0], []
        for width, count in zip(WIDTHS, BLOCKS, strict=True):
            blocks = [Block(inputs, width, 2), *(Block(width, width, 1) for _ in range(count - 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(WIDTHS[-2] + WIDTHS[-1], FEATURES)

    def forward(self, pixels: Tensor) -> Tensor:
        value = functional.relu(self.stem_norm(self.stem(pixels * 4 - 2)))
        pooled = []
        for stage in self.stages:
            value = stage(value)
            pooled.append(value)
        gathered = torch.cat([cubic_mean(part) for part in pooled[-2:]], 1)
        return functional.normalize(self.head(gathered), dim=1)


def cubic_mean(value: Tensor) -> Tensor:
    return (value.float().pow(3).mean((2, 3)) + FLOOR).pow(1 / 3)


def write(graph: Graph, pixels: str, network: Network) -> str:
    """Add the network with batch norms folded into its convolutions; return features (n, 256), not normalised."""
    value = graph.scalar("Add", graph.scalar("Mul", pixels, 4.0), -2.0)
    value = _relu(graph, _convolve(graph, value, network.stem, network.stem_norm))
    side, pooled = 64, []
    for stage in network.stages:
        for block in _blocks(stage):
            value = _block(graph, value, block)
        side //= 2
        pooled.append(_cubic_mean(graph, value, side))
    gathered = graph.join(pooled[-2:])
    weights = graph.node("MatMul", gathered, graph.constant(_array(network.head.weight.T)))
    return graph.node("Add", weights, graph.constant(_array(network.head.bias)))


def _blocks(stage: nn.Module) -> Iterator[Block]:
    for block in stage.children():
        assert isinstance(block, Block)
        yield block


def _block(graph: Graph, value: str, block: Block) -> str:
    short = value if block.short is None else _convolve(graph, value, block.short, block.short_norm)
    inner = _relu(graph, _convolve(graph, value, block.first, block.first_norm))
    return _relu(graph, graph.node("Add", _convolve(graph, inner, block.second, block.second_norm), short))


def _convolve(graph: Graph, value: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> str:
    assert norm is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    kernels = conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return graph.conv(value, _array(kernels), bias=_array(bias), stride=conv.stride[0])


def _relu(graph: Graph, value: str) -> str:
    return graph.node("Relu", value)


def _cubic_mean(graph: Graph, value: str, side: int) -> str:
    cubed = graph.node("Mul", graph.node("Mul", value, value), value)
    return graph.flat(graph.scalar("Pow", graph.scalar("Add", graph.pool(cubed, side), FLOOR), 1 / 3))


def _array(value: Tensor) -> Array:
    return np.asarray(value.detach().float().cpu().numpy())
