"""Generate the training set: views of procedural images in the model's size, in one file for both branches."""

import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from functions.inference_endpoint.training import augment, procedural

type Views = npt.NDArray[np.uint8]

SIDE = 128
MILD_VIEWS = 2
"""Number of mild views of an image, which come first; the others are strongly changed copies."""


def squash(image: Image.Image) -> Views:
    """Resize an image as the server does; uint8, shape (128, 128, 3)."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0))


def pixels_of(views: Views) -> npt.NDArray[np.float32]:
    """Convert views of shape (n, 128, 128, 3) to the model's input: float32, shape (n, 3, 128, 128), RGB 0..1."""
    return np.ascontiguousarray((views.astype(np.float32) / 255).transpose(0, 3, 1, 2))


def views_of(number: int, views: int, seed: int) -> Views:
    """Generate the views of one image, shape (views, 128, 128, 3)."""
    rng = np.random.default_rng((seed, number))
    original = procedural.image(seed * 1_000_000 + number)
    changes = [augment.mild_view] * MILD_VIEWS + [augment.view] * (views - MILD_VIEWS)
    return np.stack([squash(change(rng, original)) for change in changes])


def training_set(path: Path, images: int, views: int, seed: int) -> Views:
    """Read the set from ``path``, shape (images, views, 128, 128, 3); if it is missing, generate it on all cores."""
    if not path.exists():
        draft = path.with_suffix(".part")
        array = np.lib.format.open_memmap(draft, "w+", np.uint8, (images, views, SIDE, SIDE, 3))
        with multiprocessing.get_context("spawn").Pool() as pool:
            rows = pool.imap(partial(views_of, views=views, seed=seed), range(images), chunksize=16)
            for number, row in enumerate(track(rows, "views of procedural images", images)):
                array[number] = row
        array.flush()
        draft.rename(path)
    return np.asarray(np.load(path, mmap_mode="r"))
