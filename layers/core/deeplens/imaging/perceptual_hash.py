"""Compute pHash: 64 bits that tolerate recompression, resizing and small changes of colour.

The result is bit for bit that of ``imagehash.phash`` (https://pypi.org/project/ImageHash): greyscale of
32 × 32, discrete cosine transform, which of its lowest 8 × 8 frequencies lie above their median. The transform is 320
sums of products, so SciPy, which that library needs, is not worth its 106 MB.
"""

from io import BytesIO
from math import cos, pi, sumprod

from PIL import Image

SIDE, KEPT = 32, 8
COSINES = [[2 * cos(pi * k * (2 * n + 1) / (2 * SIDE)) for n in range(SIDE)] for k in range(KEPT)]
"""Rows of an unnormalised DCT-II."""


def perceptual_hash(image: Image.Image) -> int:
    """Return the pHash of an upright raster, 0 to 2**64 - 1; its first bit is the highest."""
    pixels = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS).tobytes()
    columns = [pixels[x::SIDE] for x in range(SIDE)]
    vertical = [[sumprod(cosine, column) for column in columns] for cosine in COSINES]
    frequencies = [sumprod(cosine, row) for row in vertical for cosine in COSINES]
    ordered = sorted(frequencies)
    # The median; importing ``statistics`` takes 10 ms.
    middle = (ordered[KEPT * KEPT // 2 - 1] + ordered[KEPT * KEPT // 2]) / 2
    bits = 0
    for frequency in frequencies:
        bits = bits << 1 | (frequency > middle)
    return bits


def perceptual_hash_of(jpeg: bytes) -> int:
    """Return the pHash of a standard JPEG or a thumbnail, whose pixels are upright."""
    with Image.open(BytesIO(jpeg), formats=["JPEG"]) as image:
        return perceptual_hash(image)
