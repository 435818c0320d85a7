"""Generate a different photo for each seed and number. A few are truncated after a valid header and must fail."""

from io import BytesIO

import numpy as np
from PIL import Image

BROKEN_EVERY = 25
SIDE = 320


def is_broken(number: int) -> bool:
    return number % BROKEN_EVERY == BROKEN_EVERY - 1


def photo(seed: int, number: int) -> bytes:
    """Return a JPEG of smooth noise in three colours, truncated if it must fail."""
    coarse = np.random.default_rng((seed, number)).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG")
    body = out.getvalue()
    return body[: len(body) // 2] if is_broken(number) else body
