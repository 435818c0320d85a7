"""Thirty transformations that make copies of an image, harsher than the demo's and not used in training."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from local.demo.variants import rotate as rotate_and_cut
from local.demo.variants import screenshot

type Change = Callable[[Image.Image], Image.Image]

BILINEAR = Image.Resampling.BILINEAR


def cut(left: float, top: float, right: float, bottom: float) -> Change:
    """Crop to a part whose edges are fractions of the sides."""
    return lambda image: image.crop(
        (
            int(left * image.width),
            int(top * image.height),
            max(1, int(right * image.width)),
            max(1, int(bottom * image.height)),
        )
    )


def jpeg(quality: int) -> Change:
    def compressed(image: Image.Image) -> Image.Image:
        out = BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return compressed


def gamma(exponent: float) -> Change:
    table = [round(255 * (value / 255) ** exponent) for value in range(256)] * 3
    return lambda image: image.point(table)


def hue(turn: int) -> Change:
    """Shift the hue; 256 is a full turn."""

    def turned(image: Image.Image) -> Image.Image:
        h, s, v = image.convert("HSV").split()
        return Image.merge("HSV", (h.point([(value + turn) % 256 for value in range(256)]), s, v)).convert("RGB")

    return turned


def sepia(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), (40, 26, 13), (255, 240, 200))


def noise(image: Image.Image) -> Image.Image:
    grain = np.random.default_rng(1).normal(0, 25, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def small(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((64, 64))
    return copy


def meme(image: Image.Image) -> Image.Image:
    copy = image.copy()
    draw, size = ImageDraw.Draw(copy), max(10, image.height // 8)
    for text, y in (("WHEN IT WORKS", image.height // 40), ("ON MY MACHINE", image.height - size * 5 // 4)):
        draw.text(
            (image.width / 2, y), text, "white", ImageFont.load_default(size), anchor="ma", stroke_width=size // 10,
            stroke_fill="black",
        )  # fmt: skip
    return copy


def sticker(image: Image.Image) -> Image.Image:
    copy = image.copy()
    side = min(image.size) * 2 // 5
    x, y = image.width * 11 // 20, image.height // 10
    ImageDraw.Draw(copy).ellipse((x, y, x + side, y + side), "gold", "black", max(1, side // 20))
    return copy


def watermark(image: Image.Image) -> Image.Image:
    veil = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(veil), ImageFont.load_default(max(8, image.height // 12))
    for row in range(6):
        draw.text((row % 2 * image.height / 12, row * image.height / 6), "SAMPLE   " * 6, (255, 255, 255, 130), font)
    return Image.alpha_composite(image.convert("RGBA"), veil).convert("RGB")


def frame(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, max(1, min(image.size) // 8), (250, 250, 250))


def letterbox(image: Image.Image) -> Image.Image:
    side = max(image.width, int(image.height * 1.4))
    return ImageOps.pad(image, (side, side), BILINEAR, "black")


def phone(image: Image.Image) -> Image.Image:
    """Place the image in the middle of a phone's dark screen, with a line of buttons."""
    page = Image.new("RGB", (image.width, image.height * 9 // 5), (18, 18, 20))
    draw, unit = ImageDraw.Draw(page), max(2, image.width // 12)
    for number in range(4):
        x, y = unit * (1 + 3 * number), page.height - unit * 2
        draw.ellipse((x, y, x + unit, y + unit), (120, 120, 130))
    draw.rectangle((unit, unit // 2, unit * 5, unit), (230, 230, 235))
    page.paste(image, (0, image.height * 2 // 5))
    return page


def desktop(image: Image.Image) -> Image.Image:
    """Place the image in a desktop's window that takes three fifths of each side."""
    width, height = image.width * 5 // 3, image.height * 5 // 3
    page = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    page = Image.blend(page, Image.new("RGB", page.size, (40, 90, 150)), 0.8)
    draw, bar = ImageDraw.Draw(page), max(4, height // 25)
    draw.rectangle((0, height - bar, width, height), (30, 30, 34))
    left, top = width // 8, height // 8
    draw.rectangle((left - 2, top - bar, left + image.width + 2, top + image.height + 2), (235, 235, 238))
    page.paste(image, (left, top))
    return page


def collage(image: Image.Image) -> Image.Image:
    """Place the image beside a plain picture, which takes a third of the page."""
    page = Image.new("RGB", (image.width * 3 // 2, image.height), (205, 120, 80))
    ImageDraw.Draw(page).ellipse(
        (image.width * 11 // 10, image.height // 4, image.width * 7 // 5, image.height * 3 // 4), (240, 230, 120)
    )
    page.paste(image, (0, 0))
    return page


def perspective(image: Image.Image) -> Image.Image:
    """Show the image from the side: its right edge is three quarters as high."""
    width, height = image.size
    high = height / 8
    source = (0, 0, 0, height, width, height + high, width, -high)
    return image.transform(image.size, Image.Transform.QUAD, source, BILINEAR, fillcolor=(90, 90, 90))


TRANSFORMATIONS: dict[str, Change] = {
    "crop to 80 %": cut(0.1, 0.1, 0.9, 0.9),
    "crop to 60 %, corner": cut(0, 0, 0.6, 0.6),
    "crop to half": cut(0.25, 0.25, 0.75, 0.75),
    "left two thirds": cut(0, 0, 0.66, 1),
    "mirror": ImageOps.mirror,
    "turn 5°, cut": rotate_and_cut,
    "turn 15°": lambda image: image.rotate(15, BILINEAR, expand=True),
    "turn 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turn 180°": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "wider": lambda image: image.resize((int(image.width * 1.4), image.height), BILINEAR),
    "perspective": perspective,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "sepia": sepia,
    "darker": gamma(1.8),
    "brighter": gamma(0.55),
    "hue": hue(40),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.8),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 100)),
    "noise": noise,
    "JPEG quality 10": jpeg(10),
    "64 pixels": small,
    "meme": meme,
    "sticker": sticker,
    "watermark": watermark,
    "frame": frame,
    "letterbox": letterbox,
    "screenshot": screenshot,
    "phone": phone,
    "desktop": desktop,
    "collage": collage,
}
