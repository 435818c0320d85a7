"""Pictures made on the spot, and how far two are apart."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()

TURN_AWAY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What undoes each EXIF orientation: how the raster lies in a file that says so."""


def scene(width: int = 600, height: int = 400) -> Image.Image:
    """A smooth picture without any symmetry."""
    coarse = np.random.default_rng(7).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def file_of(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def opened(body: bytes) -> Image.Image:
    image = Image.open(BytesIO(body))
    image.load()
    return image


def difference(body: bytes, expected: Image.Image) -> float:
    """Mean absolute difference of two pictures of any size, in levels of 0 to 255."""
    ours, theirs = (np.asarray(one.convert("RGB").resize((48, 48)), dtype=float) for one in (opened(body), expected))
    return float(np.abs(ours - theirs).mean())


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
