"""Copies of an image as people make them; each is drawn from a generator, so that a seed repeats it."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

type Rng = np.random.Generator
type Change = Callable[[Rng, Image.Image], Image.Image]


def crop(rng: Rng, image: Image.Image) -> Image.Image:
    share = float(rng.uniform(0.5, 0.95))
    width, height = image.width * share, image.height * share * float(np.exp(rng.normal(0, 0.08)))
    height = min(height, image.height)
    x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    return image.crop((int(x), int(y), int(x + width), int(y + height)))


def rotate(rng: Rng, image: Image.Image) -> Image.Image:
    angle = float(rng.normal(0, 6)) if rng.random() < 0.85 else float(rng.choice([90, 180, 270]))
    fill = tuple(int(c) for c in rng.integers(0, 256, 3)) if rng.random() < 0.5 else (0, 0, 0)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill)


def flip(_: Rng, image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def recolour(rng: Rng, image: Image.Image) -> Image.Image:
    gains = np.exp(rng.normal(0, 0.12, 3))
    table = [min(255, int(v * gain)) for gain in gains for v in range(256)]
    changed = ImageEnhance.Color(image.point(table)).enhance(float(rng.uniform(0, 2)))
    changed = ImageEnhance.Contrast(changed).enhance(float(rng.uniform(0.6, 1.5)))
    return ImageEnhance.Brightness(changed).enhance(float(rng.uniform(0.6, 1.4)))


def grey(_: Rng, image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def blur(rng: Rng, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))


def noise(rng: Rng, image: Image.Image) -> Image.Image:
    grain = rng.normal(0, rng.uniform(4, 30), (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def shrink(rng: Rng, image: Image.Image) -> Image.Image:
    share = float(rng.uniform(0.25, 0.7))
    small = image.resize(
        (max(8, int(image.width * share)), max(8, int(image.height * share))), Image.Resampling.BILINEAR
    )
    return small.resize(image.size, Image.Resampling.BILINEAR)


def compress(rng: Rng, image: Image.Image) -> Image.Image:
    out = BytesIO()
    image.save(out, "JPEG", quality=int(rng.integers(8, 60)))
    return Image.open(out).convert("RGB")


def overlay(rng: Rng, image: Image.Image) -> Image.Image:
    """Text lines or a sticker on the image."""
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, 0.7, 2) * copy.size
        w, h = rng.uniform(0.1, 0.4) * copy.width, rng.uniform(0.04, 0.2) * copy.height
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.4 else draw.rectangle)((x, y, x + w, y + h), fill=colour)
    return copy


def embed_in_page(rng: Rng, image: Image.Image) -> Image.Image:
    """A screenshot: the image on an interface-like background, smaller, with bars and lines around it."""
    shade = int(rng.choice([20, 40, 235, 245, 255]))
    margins = rng.uniform(0, 0.25, 4) * image.width
    left, top, right, bottom = (int(m) for m in margins)
    page = Image.new("RGB", (image.width + left + right, image.height + top + bottom), (shade,) * 3)
    draw = ImageDraw.Draw(page)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    draw.rectangle((0, 0, page.width, top * 0.7), fill=colour)
    for line in range(3):
        y = page.height - bottom * (0.8 - 0.25 * line)
        draw.rectangle((left, y, page.width * rng.uniform(0.4, 0.9), y + bottom * 0.1), fill=(128, 128, 134))
    page.paste(image, (left, top))
    return page


CHANGES: dict[str, Change] = {
    "crop": crop,
    "rotate": rotate,
    "flip": flip,
    "recolour": recolour,
    "grey": grey,
    "blur": blur,
    "noise": noise,
    "shrink": shrink,
    "compress": compress,
    "overlay": overlay,
    "page": embed_in_page,
}
WEIGHTS = np.array([4, 2, 1, 3, 0.5, 1, 1, 1, 1.5, 1.5, 2.5])


def view(rng: Rng, image: Image.Image) -> Image.Image:
    """One to three changes in a random order."""
    names = rng.choice(list(CHANGES), int(rng.integers(1, 4)), replace=False, p=WEIGHTS / WEIGHTS.sum())
    for name in names:
        image = CHANGES[str(name)](rng, image)
    return image
