"""Make copies of an image as people do. Each change draws from a random generator, so that a seed repeats it."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from functions.inference_endpoint.training import procedural

type Rng = np.random.Generator
type Change = Callable[[Rng, Image.Image], Image.Image]


LETTERS = [*range(65, 91), *range(97, 123), 32, 32, 32]
RIGHT_ANGLES = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def crop(rng: Rng, image: Image.Image) -> Image.Image:
    share = float(rng.uniform(0.4, 0.95))
    width, height = image.width * share, image.height * share * float(np.exp(rng.normal(0, 0.08)))
    height = min(height, image.height)
    x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    return image.crop((int(x), int(y), int(x + width), int(y + height)))


def rotate(rng: Rng, image: Image.Image) -> Image.Image:
    if rng.random() < 0.35:
        return image.transpose(RIGHT_ANGLES[int(rng.integers(3))])
    angle = float(rng.normal(0, 8))
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


def caption(rng: Rng, image: Image.Image) -> Image.Image:
    """Write words on the image, as in a meme or a watermark."""
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    height = max(8, int(copy.height * rng.uniform(0.05, 0.18)))
    for _ in range(int(rng.integers(1, 4))):
        words = "".join(chr(int(c)) for c in rng.choice(LETTERS, int(rng.integers(4, 24))))
        position = (float(rng.uniform(-0.1, 0.6) * copy.width), float(rng.uniform(0, 0.9) * copy.height))
        ink, edge = (int(rng.choice([0, 255])), int(rng.choice([0, 255])))
        draw.text(
            position,
            words,
            (ink,) * 3,
            ImageFont.load_default(height),
            stroke_width=height // 12,
            stroke_fill=(edge,) * 3,
        )
    return copy


def overlay(rng: Rng, image: Image.Image) -> Image.Image:
    """Draw bars or stickers on the image."""
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, 0.7, 2) * copy.size
        w, h = rng.uniform(0.1, 0.4) * copy.width, rng.uniform(0.04, 0.2) * copy.height
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.4 else draw.rectangle)((x, y, x + w, y + h), fill=colour)
    return copy


def embed_in_page(rng: Rng, image: Image.Image) -> Image.Image:
    """Place the image on a page like a screenshot, with a bar above it and lines of text around it."""
    max_margin = 0.7 if rng.random() < 0.5 else 0.25
    left, top, right, bottom = (int(m) for m in rng.uniform(0, max_margin, 4) * rng.choice([0.1, 1], 4) * image.width)
    shade = int(rng.choice([20, 40, 235, 245, 255]))
    page = Image.new("RGB", (image.width + left + right, image.height + top + bottom), (shade,) * 3)
    draw = ImageDraw.Draw(page)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    draw.rectangle((0, 0, page.width, top * rng.uniform(0, 0.7)), fill=colour)
    ink = int(np.clip(shade + (1 if shade < 128 else -1) * rng.integers(40, 200), 0, 255))
    for y in np.arange(page.height * rng.uniform(0, 0.5), page.height, image.height * rng.uniform(0.05, 0.15)):
        x, width = rng.uniform(0, 0.1) * page.width, rng.uniform(0.2, 0.9) * page.width
        draw.rectangle((x, y, x + width, y + image.height * 0.02), fill=(ink,) * 3)
    page.paste(image, (left, top))
    return page


def embed_in_picture(rng: Rng, image: Image.Image) -> Image.Image:
    """Place the image in another picture, as in a collage or a photo of a print."""
    side = float(np.exp(rng.uniform(np.log(1.1), np.log(2.5))))
    page = procedural.background(rng).resize((int(image.width * side), int(image.height * side)))
    left, top = rng.integers(0, page.width - image.width + 1), rng.integers(0, page.height - image.height + 1)
    page.paste(image, (int(left), int(top)))
    return page


def stretch(rng: Rng, image: Image.Image) -> Image.Image:
    """Change the aspect ratio. The model's square input shows it only after a crop or on a page."""
    width, height = (max(8, int(side * np.exp(rng.normal(0, 0.25)))) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


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
    "caption": caption,
    "page": embed_in_page,
    "picture": embed_in_picture,
    "stretch": stretch,
}
WEIGHTS = np.array([4, 2, 1, 3, 0.5, 1, 1, 1, 1.5, 1, 1, 2.5, 1, 0.7])


def view(rng: Rng, image: Image.Image) -> Image.Image:
    """Apply one to three changes in a random order."""
    names = rng.choice(list(CHANGES), int(rng.integers(1, 4)), replace=False, p=WEIGHTS / WEIGHTS.sum())
    for name in names:
        image = CHANGES[str(name)](rng, image)
    return image


def mild_view(rng: Rng, image: Image.Image) -> Image.Image:
    """Apply mild changes: crop a little, recompress, sometimes mirror."""
    share = float(rng.uniform(0.85, 1))
    width, height = int(image.width * share), int(image.height * share)
    x, y = (int(rng.integers(0, side - part + 1)) for side, part in ((image.width, width), (image.height, height)))
    cropped = image.crop((x, y, x + width, y + height))
    return compress(rng, flip(rng, cropped) if rng.random() < 0.5 else cropped)
