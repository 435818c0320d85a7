"""Make typical copies of images: cropped, recompressed, recoloured, flipped, rotated, in a screenshot."""

from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

type Variant = Callable[[Image.Image], Image.Image]


def crop(image: Image.Image) -> Image.Image:
    """Crop to the middle 80 % of each side."""
    width, height = image.size
    return image.crop((width // 10, height // 10, width - width // 10, height - height // 10))


def recompress(image: Image.Image) -> Image.Image:
    """Halve the size and compress with JPEG quality 25."""
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR)
    out = BytesIO()
    small.save(out, "JPEG", quality=25)
    return Image.open(out).convert("RGB")


def recolour(image: Image.Image) -> Image.Image:
    """Make the colours warmer and stronger, and raise the contrast."""
    red, green, blue = image.split()
    redder, less_blue = red.point(lambda v: min(255, int(v * 1.12))), blue.point(lambda v: int(v * 0.88))
    warm = Image.merge("RGB", (redder, green, less_blue))
    return ImageEnhance.Contrast(ImageEnhance.Color(warm).enhance(1.3)).enhance(1.15)


def flip(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def rotate(image: Image.Image) -> Image.Image:
    """Rotate by five degrees and crop the empty corners."""
    turned = image.rotate(5, Image.Resampling.BICUBIC, expand=False)
    margin_x, margin_y = image.width // 12, image.height // 12
    return turned.crop((margin_x, margin_y, image.width - margin_x, image.height - margin_y))


def screenshot(image: Image.Image) -> Image.Image:
    """Return a screenshot: the image in a window with a title bar and lines of text."""
    width, height = image.size
    border, bar, footer = max(2, width // 40), max(8, height // 12), max(8, height // 8)
    page = Image.new("RGB", (width + 2 * border, height + bar + footer + border), (244, 244, 246))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, page.width, bar - border), fill=(52, 58, 70))
    for number in range(3):
        x = border + number * bar // 2
        draw.ellipse((x, bar // 4, x + bar // 4, bar // 2), fill=((236, 95, 87), (245, 190, 79), (98, 197, 84))[number])
    page.paste(image, (border, bar))
    for line in range(2):
        y = bar + height + footer // 4 + line * footer // 3
        draw.rectangle((border, y, page.width * (3 - line) // 4, y + footer // 8), fill=(180, 184, 192))
    return page


VARIANTS: dict[str, Variant] = {
    "crop": crop,
    "recompress": recompress,
    "recolour": recolour,
    "flip": flip,
    "rotate": rotate,
    "screenshot": screenshot,
}


def variants_of(body: bytes) -> dict[str, bytes]:
    """Return every variant of an image file as a JPEG file, by variant name."""
    with Image.open(BytesIO(body)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    return {name: _jpeg(change(image)) for name, change in VARIANTS.items()}


def _jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()
