"""The training set: views of procedural images as the model sees them, in one file that both branches read."""

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
MILD = 2
"""The first views of an image are mild ones: what is stored. The others are copies of it."""


def squashed(image: Image.Image) -> Views:
    """uint8, shape (128, 128, 3): resized as the server does."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0))


def pixels_of(views: Views) -> npt.NDArray[np.float32]:
    """The model's input of views of shape (n, 128, 128, 3): float32, shape (n, 3, 128, 128), RGB 0..1."""
    return np.ascontiguousarray((views.astype(np.float32) / 255).transpose(0, 3, 1, 2))


def views_of(number: int, views: int, seed: int) -> Views:
    """Views of one image, shape (views, 128, 128, 3)."""
    rng = np.random.default_rng((seed, number))
    original = procedural.image(seed * 1_000_000 + number)
    changes = [augment.mild_view] * MILD + [augment.view] * (views - MILD)
    return np.stack([squashed(change(rng, original)) for change in changes])


def training_set(path: Path, images: int, views: int, seed: int) -> Views:
    """The set in ``path``, shape (images, views, 128, 128, 3), made on all cores where it is not there yet."""
    if not path.exists():
        making = path.with_suffix(".part")
        made = np.lib.format.open_memmap(making, "w+", np.uint8, (images, views, SIDE, SIDE, 3))
        with multiprocessing.get_context("spawn").Pool() as pool:
            rows = pool.imap(partial(views_of, views=views, seed=seed), range(images), chunksize=16)
            for number, row in enumerate(track(rows, "views of procedural images", images)):
                made[number] = row
        made.flush()
        making.rename(path)
    return np.asarray(np.load(path, mmap_mode="r"))
