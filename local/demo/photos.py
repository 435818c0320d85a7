"""Load photos for the demo and benches, from scikit-image or from the user's folder."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from pillow_heif import register_heif_opener

# One photo per scene: a second photo of it would be a near-duplicate.
SCIKIT_IMAGE = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png",
    "microaneurysms.png", "moon.png", "motorcycle_left.png", "page.png", "phantom.png", "retina.jpg", "rocket.jpg",
    "text.png",
)  # fmt: skip
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"}
MAX_BYTES = 4_000_000
LONG_SIDE = 2048


@dataclass(frozen=True, slots=True)
class Photo:
    """A file to upload."""

    name: str
    body: bytes


def scikit_image_photos() -> list[Photo]:
    """Return the photos in the scikit-image wheel, which need no download."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [Photo(name, (folder / name).read_bytes()) for name in SCIKIT_IMAGE]


def folder_photos(folder: Path, limit: int) -> tuple[list[Photo], list[str]]:
    """Return the images below ``folder``, sorted by name, and a reason for each file that is left out.

    Files that are too large for one HTTP upload are scaled down.
    """
    register_heif_opener()
    photos: list[Photo] = []
    left_out: list[str] = []
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())
    for path in itertools.islice(files, limit):
        name = str(path.relative_to(folder))
        try:
            photos.append(Photo(name, _uploadable(path)))
        except (OSError, ValueError) as error:
            left_out.append(f"{name}: {error}")
    return photos, left_out


def _uploadable(path: Path) -> bytes:
    """Return the file's bytes, or a smaller JPEG if it is too large. Raises ``OSError`` if it cannot be decoded."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if path.stat().st_size <= MAX_BYTES:
        return path.read_bytes()
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    out = BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def bench_photos(count: int) -> Iterator[Photo]:
    """Yield ``count`` different 640 × 480 JPEGs, cropped from the photos at seeded places; about 60 kB each."""
    rng = np.random.default_rng(20)
    sources: list[Image.Image] = []
    for photo in scikit_image_photos():
        with Image.open(BytesIO(photo.body)) as opened:
            sources.append(opened.convert("RGB"))
    for number in range(count):
        image = sources[number % len(sources)]
        left, top = (rng.uniform(0, 0.4) * side for side in image.size)
        box = (int(left), int(top), int(left + 0.6 * image.width), int(top + 0.6 * image.height))
        out = BytesIO()
        image.crop(box).resize((640, 480), Image.Resampling.BILINEAR).save(out, "JPEG", quality=85)
        yield Photo(f"bench-{number:05d}.jpg", out.getvalue())
