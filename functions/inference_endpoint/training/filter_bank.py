"""Write the fixed filter bank: Gabor responses over scales, chroma, colour layout and histogram of 128 × 128 pixels.

Oriented quadrature filters with a modulus follow Simoncelli and Freeman, "The steerable pyramid" (ICIP 1995); their
second order across scales follows Mallat's scattering transform (CPAM 2012).
"""

from dataclasses import dataclass

import numpy as np

from functions.inference_endpoint.training.graph import Array, Graph

SIDE, LEVELS, ORIENTATIONS, KERNEL = 128, 4, 8, 7
MAX_SECOND_ORDER_SIDE = 32
"""Largest side of a map of which second-order responses are computed."""
LUMA = (0.299, 0.587, 0.114)
CHROMA = ((-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


def gabor_pairs() -> Array:
    """Return even and odd Gabor filters, shape (2 × 8, 1, 7, 7): zero mean, unit energy, wavelength 4 pixels."""
    half = KERNEL // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    envelope = np.exp(-(x**2 + y**2) / (2 * 1.8**2))
    filters = []
    for phase in (np.cos, np.sin):
        for number in range(ORIENTATIONS):
            angle = np.pi * number / ORIENTATIONS
            wave = phase(2 * np.pi / 4 * (x * np.cos(angle) + y * np.sin(angle))) * envelope
            wave -= envelope * wave.sum() / envelope.sum()
            filters.append(wave / np.sqrt((wave**2).sum()))
    return np.array(filters)[:, None]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """Pooled responses, shape (n, channels, grid, grid), and the channel of each in the mirror image."""

    value: str
    mirror_channels: Array
    grid: int

    def mirror(self) -> Array:
        """Return the positions of the mirror image's features in the flattened map."""
        positions = np.arange(len(self.mirror_channels) * self.grid**2).reshape(-1, self.grid, self.grid)
        return np.asarray(positions[self.mirror_channels][:, :, ::-1].reshape(-1))


def features(graph: Graph, pixels: str) -> str:
    """Add the features of ``pixels`` (n, 3, 128, 128), shape (n, d), averaged with those of the mirror image.

    A mirror image has the same responses at other positions: of mirrored filters, with columns in reverse order. So its
    features are a permutation, and nothing is computed twice.
    """
    luma = _normalise(graph, graph.conv(pixels, np.array(LUMA).reshape(1, 3, 1, 1)))
    chroma = graph.conv(pixels, np.array(CHROMA).reshape(2, 3, 1, 1))
    maps = [*_luma_maps(graph, luma), *_chroma_maps(graph, chroma), *_layout_maps(graph, pixels)]
    maps.append(FeatureMap(_histogram(graph, pixels, chroma), np.arange(100), 1))
    values = graph.join([graph.flat(feature_map.value) for feature_map in maps])
    starts = np.cumsum([0, *(len(feature_map.mirror()) for feature_map in maps)])
    order = np.concatenate([start + feature_map.mirror() for start, feature_map in zip(starts, maps, strict=False)])
    mirrored = graph.node("Gather", values, graph.constant(order.astype(np.int64)), axis=1)
    return graph.scalar("Mul", graph.node("Add", values, mirrored), 0.5)


def _normalise(graph: Graph, luma: str) -> str:
    """Normalise to zero mean and unit variance per image, so that brightness and contrast have no effect."""
    centred = graph.node("Sub", luma, graph.node("ReduceMean", luma, axes=[1, 2, 3], keepdims=1))
    variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=[1, 2, 3], keepdims=1)
    return graph.node("Div", centred, graph.node("Sqrt", graph.scalar("Add", variance, 1e-3)))


MIRRORED = -np.arange(ORIENTATIONS) % ORIENTATIONS
"""Orientation in the mirror image by orientation: that of k is -k."""


def _modulus(graph: Graph, image: str, channels: int, side: int) -> str:
    """Add the energy of each channel in 8 orientations, shape (n, 8 × channels, side, side)."""
    # A dense convolution of each channel: runtimes are slow at grouped convolutions.
    single = graph.node("Reshape", image, graph.constant(np.array([-1, 1, side, side], np.int64)))
    even, odd = (graph.conv(single, half) for half in np.split(gabor_pairs(), 2))
    energy = graph.node("Add", graph.node("Mul", even, even), graph.node("Mul", odd, odd))
    modulus = graph.node("Sqrt", graph.scalar("Add", energy, 1e-6))
    shape = np.array([-1, channels * ORIENTATIONS, side, side], np.int64)
    return graph.node("Reshape", modulus, graph.constant(shape))


def _mirrored(channels: Array) -> Array:
    """Return the position of each (channel, orientation) pair in the mirror image."""
    return np.asarray((channels[:, None] * ORIENTATIONS + MIRRORED).reshape(-1))


def _luma_maps(graph: Graph, luma: str) -> list[FeatureMap]:
    maps: list[FeatureMap] = []
    level, side = luma, SIDE
    for number in range(LEVELS):
        energy = _modulus(graph, level, 1, side)
        maps += [FeatureMap(_log(graph, graph.pool(energy, side // grid)), MIRRORED, grid) for grid in (1, 2, 4)]
        maps += [FeatureMap(_cubic(graph, energy, side // grid), MIRRORED, grid) for grid in (1, 2)]
        if number < LEVELS - 1:
            coarse = max(2, side // MAX_SECOND_ORDER_SIDE)
            second = _modulus(graph, graph.pool(energy, coarse), ORIENTATIONS, side // coarse)
            pooled = [(graph.pool(second, side // coarse // grid), grid) for grid in (1, 2)]
            maps += [FeatureMap(_log(graph, value), _mirrored(MIRRORED), grid) for value, grid in pooled]
        level, side = graph.pool(level, 2), side // 2
    return maps


def _chroma_maps(graph: Graph, chroma: str) -> list[FeatureMap]:
    maps: list[FeatureMap] = []
    level, side = graph.pool(chroma, 2), SIDE // 2
    for _ in range(2):
        energy = _modulus(graph, level, 2, side)
        pooled = [(graph.pool(energy, side // grid), grid) for grid in (1, 2)]
        maps += [FeatureMap(_log(graph, value, floor=0.01), _mirrored(np.arange(2)), grid) for value, grid in pooled]
        level, side = graph.pool(level, 2), side // 2
    return maps


def _layout_maps(graph: Graph, pixels: str) -> list[FeatureMap]:
    return [FeatureMap(graph.pool(pixels, SIDE // grid), np.arange(3), grid) for grid in (1, 2, 4, 8)]


def _histogram(graph: Graph, pixels: str, chroma: str) -> str:
    """Add a soft histogram of 100 colours: 4 of luma × 5 × 5 of chroma. Its square root reduces large areas."""
    luma = graph.pool(graph.conv(pixels, np.array(LUMA).reshape(1, 3, 1, 1)), 4)
    blue, red = (graph.pool(graph.conv(chroma, np.eye(2)[i].reshape(1, 2, 1, 1)), 4) for i in range(2))
    luma_bins = _memberships(graph, luma, np.linspace(0.125, 0.875, 4), 0.125)
    blue_bins, red_bins = (_memberships(graph, c, np.linspace(-0.3, 0.3, 5), 0.075) for c in (blue, red))
    area = (SIDE // 4) ** 2
    rows = [
        graph.node("Reshape", bins, graph.constant(np.array(shape, np.int64)))
        for bins, shape in (
            (luma_bins, [0, 4, 1, 1, area]),
            (blue_bins, [0, 1, 5, 1, area]),
            (red_bins, [0, 1, 1, 5, area]),
        )
    ]
    product = graph.node("Mul", graph.node("Mul", rows[0], rows[1]), rows[2])
    share = graph.node("ReduceMean", product, axes=[4], keepdims=0)
    return graph.node("Sqrt", graph.scalar("Add", share, 1e-5))


def _memberships(graph: Graph, value: str, centres: Array, width: float) -> str:
    """Add the degree to which each pixel belongs to each bin; the sum over bins is 1."""
    difference = graph.node("Sub", value, graph.constant(centres.astype(np.float32).reshape(1, -1, 1, 1)))
    scaled = graph.scalar("Mul", graph.node("Mul", difference, difference), -0.5 / width**2)
    return graph.node("Softmax", scaled, axis=1)


def _log(graph: Graph, value: str, floor: float = 0.05) -> str:
    return graph.node("Log", graph.scalar("Add", value, floor))


def _cubic(graph: Graph, energy: str, kernel: int) -> str:
    """Add the cubic mean, in which strong edges count more than texture."""
    cubed = graph.node("Mul", graph.node("Mul", energy, energy), energy)
    return graph.scalar("Pow", graph.scalar("Add", graph.pool(cubed, kernel), 1e-4), 1 / 3)


def project(graph: Graph, values: str, mean: Array, projection: Array) -> str:
    """Centre and project features; ``projection`` has shape (d, dimensions)."""
    centred = graph.node("Sub", values, graph.constant(mean.astype(np.float32)))
    return graph.node("MatMul", centred, graph.constant(projection.astype(np.float32)))
