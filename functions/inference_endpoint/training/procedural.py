"""Generate images from seeds, in place of photos: noise textures, gratings, horizons and dead leaves.

The dead leaves model, discs with power-law sizes that occlude each other, has the statistics of natural images: Lee,
Mumford and Huang, "Occlusion models for natural images" (IJCV 2001).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from functions.inference_endpoint.training.graph import Array

SIDE = 256


def image(seed: int) -> Image.Image:
    """Generate the image of a seed, RGB, 256 × 256."""
    rng = np.random.default_rng(seed)
    canvas = background(rng)
    if rng.random() < 0.35:
        canvas = _horizon(rng, canvas)
    if rng.random() < 0.8:
        canvas = _leaves(rng, canvas, int(rng.integers(4, 120)))
    if rng.random() < 0.3:
        canvas = _strokes(rng, canvas)
    if rng.random() < 0.5:
        canvas = _shade(rng, canvas)
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 2.0))))
    return _apply_gamma(rng, canvas)


def _noise(rng: np.random.Generator, slope: float) -> Array:
    """Generate 1/f^slope noise, shape (256, 256), 0..1."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    stretch = float(np.exp(rng.normal(0, 0.5)))
    amplitude = 1 / np.maximum(1 / SIDE, np.hypot(fy * stretch, fx)) ** slope
    field = np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), (SIDE, SIDE))
    low, high = np.percentile(field, (1, 99))
    return np.asarray(np.clip((field - low) / (high - low), 0, 1))


def _grating(rng: np.random.Generator) -> Array:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, frequency = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(2), np.log(40)))
    wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6.28))
    return np.asarray((wave + 1) / 2 if rng.random() < 0.5 else (wave > 0).astype(float))


def _colours(rng: np.random.Generator, count: int) -> Array:
    """Choose a palette around one hue, mostly of low saturation, as in photos; some are grey."""
    colours = np.clip(rng.random(3) + rng.normal(0, rng.uniform(0.1, 0.7), (count, 3)), 0, 1)
    grey = colours.mean(1, keepdims=True)
    saturation = 0 if rng.random() < 0.15 else rng.beta(1.5, 2)
    return np.asarray(grey + (colours - grey) * saturation)


def _texture(rng: np.random.Generator) -> Array:
    """Generate a coloured texture, shape (256, 256, 3), 0..1."""
    field = _grating(rng) if rng.random() < 0.2 else _noise(rng, float(rng.uniform(0.6, 2.2)))
    dark, light = _colours(rng, 2)
    return np.asarray(dark + (light - dark) * field[..., None])


def background(rng: np.random.Generator) -> Image.Image:
    """Generate one texture, or mix two."""
    field = _texture(rng)
    if rng.random() < 0.5:
        field = 0.6 * field + 0.4 * _texture(rng)
    return Image.fromarray((field * 255).astype(np.uint8))


def _horizon(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """Draw another texture below a nearly horizontal line."""
    ground = Image.fromarray((_texture(rng) * 255).astype(np.uint8))
    mask = Image.new("L", (SIDE, SIDE), 0)
    left, right = rng.uniform(0.3, 0.8, 2) * SIDE
    ImageDraw.Draw(mask).polygon([(0, left), (SIDE, right), (SIDE, SIDE), (0, SIDE)], fill=255)
    return Image.composite(ground, canvas, mask)


def _leaves(rng: np.random.Generator, canvas: Image.Image, count: int) -> Image.Image:
    """Draw discs, boxes and polygons with power-law sizes, plain or textured, some with a shadow."""
    textures = [Image.fromarray((_texture(rng) * 255).astype(np.uint8)) for _ in range(3)]
    colours = (_colours(rng, count) * 255).astype(int)
    for number in range(count):
        radius = min(110.0, 6 * (1 - rng.random()) ** (-1 / 1.6))
        mask = Image.new("L", (SIDE, SIDE), 0)
        _shape(rng, ImageDraw.Draw(mask), rng.uniform(-0.1, 1.1, 2) * SIDE, radius)
        if rng.random() < 0.3:
            shadow = mask.filter(ImageFilter.GaussianBlur(4)).point(lambda v: v // 2)
            canvas.paste((0, 0, 0), (3, 4), shadow.crop((0, 0, SIDE, SIDE)))
        if rng.random() < 0.4:
            canvas.paste(textures[number % 3], (0, 0), mask)
        else:
            canvas.paste(tuple(int(c) for c in colours[number]), (0, 0), mask)
    return canvas


def _shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, centre: Array, radius: float) -> None:
    kind, aspect = rng.random(), float(np.exp(rng.normal(0, 0.4)))
    x, y = float(centre[0]), float(centre[1])
    box = (x - radius * aspect, y - radius / aspect, x + radius * aspect, y + radius / aspect)
    if kind < 0.5:
        draw.ellipse(box, fill=255)
    elif kind < 0.75:
        draw.rectangle(box, fill=255)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        draw.polygon([(x + radius * np.cos(a) * aspect, y + radius * np.sin(a) / aspect) for a in angles], fill=255)


def _strokes(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(canvas)
    for colour in (_colours(rng, int(rng.integers(2, 20))) * 255).astype(int):
        points = [tuple(p) for p in (np.cumsum(rng.normal(0, 25, (5, 2)), 0) + rng.uniform(0, SIDE, 2)).tolist()]
        draw.line(points, fill=tuple(int(c) for c in colour), width=int(rng.integers(1, 8)))
    return canvas


def _shade(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """Apply light and shade that vary slowly over the image."""
    light = rng.uniform(0.3, 0.8) + _noise(rng, 2.6) * rng.uniform(0.3, 0.9)
    return Image.fromarray(np.clip(np.asarray(canvas) * light[..., None], 0, 255).astype(np.uint8))


def _apply_gamma(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    gamma = float(np.exp(rng.normal(0, 0.3)))
    table = [round(255 * (v / 255) ** gamma) for v in range(256)]
    return canvas.point(table * 3)
