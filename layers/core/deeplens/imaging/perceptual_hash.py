"""pHash: 64 bits that stay the same when a picture is recompressed, resized or recoloured a little.

The algorithm, and bit for bit the result, of ``imagehash.phash`` (https://pypi.org/project/ImageHash): greyscale of
32 × 32, discrete cosine transform, which of its lowest 8 × 8 frequencies lie above their median. The transform is 320
sums of products, so SciPy, which that library needs for it, is not worth its 106 MB here.
"""

from io import BytesIO
from math import cos, pi, sumprod

from PIL import Image

SIDE, KEPT = 32, 8
COSINES = [[2 * cos(pi * k * (2 * n + 1) / (2 * SIDE)) for n in range(SIDE)] for k in range(KEPT)]
"""Rows of an unnormalised DCT-II."""


def perceptual_hash(image: Image.Image) -> int:
    """The pHash of an upright raster, 0 to 2**64 - 1, its first bit the highest."""
    pixels = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS).tobytes()
    columns = [pixels[x::SIDE] for x in range(SIDE)]
    vertical = [[sumprod(cosine, column) for column in columns] for cosine in COSINES]
    frequencies = [sumprod(cosine, row) for row in vertical for cosine in COSINES]
    ordered = sorted(frequencies)
    # Their median; the module of that name takes 10 ms to import.
    middle = (ordered[KEPT * KEPT // 2 - 1] + ordered[KEPT * KEPT // 2]) / 2
    bits = 0
    for frequency in frequencies:
        bits = bits << 1 | (frequency > middle)
    return bits


def perceptual_hash_of(jpeg: bytes) -> int:
    """The pHash of a standard JPEG or a thumbnail, whose pixels are upright already."""
    with Image.open(BytesIO(jpeg), formats=["JPEG"]) as image:
        return perceptual_hash(image)
