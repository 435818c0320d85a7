"""Pictures that a perceptual hash can tell apart."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps


def scene(seed: int, *, mirrored: bool = False) -> bytes:
    """Smooth noise, the same for the same seed; mirrored, its left and right change places within each grid cell.

    A mirrored one keeps the colour layout that the fake embedder sees, and has another pHash.
    """
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    image = coarse.resize((256, 256), Image.Resampling.BICUBIC)
    if mirrored:
        side = 64
        for x in range(0, 256, side):
            for y in range(0, 256, side):
                box = (x, y, x + side, y + side)
                image.paste(ImageOps.mirror(image.crop(box)), box)
    return _file(image, 95)


def re_encoded(body: bytes) -> bytes:
    with Image.open(BytesIO(body)) as opened:
        return _file(opened.resize((200, 200), Image.Resampling.BICUBIC), 60)


def _file(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
