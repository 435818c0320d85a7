"""pHash: bit for bit that of ImageHash, and the same for the same picture in another file."""

from io import BytesIO

import imagehash
import numpy as np
import pytest
from deeplens.imaging.limits import Limits
from deeplens.imaging.perceptual_hash import perceptual_hash, perceptual_hash_of
from deeplens.imaging.standardise import standardise
from PIL import Image, ImageOps

from local.demo.photos import scikit_image_photos

PHOTOS = scikit_image_photos()


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.name)
def test_it_is_bit_for_bit_that_of_imagehash(photo: object) -> None:
    with Image.open(BytesIO(photo.body)) as opened:  # type: ignore[attr-defined]
        image = opened.convert("RGB")
    assert perceptual_hash(image) == int(str(imagehash.phash(image)), 16)


def test_noise_of_any_shape_hashes_as_imagehash_does() -> None:
    rng = np.random.default_rng(7)
    for _ in range(100):
        height, width = rng.integers(8, 200, 2)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert perceptual_hash(image) == int(str(imagehash.phash(image)), 16)


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (300, 300)])
def test_the_smallest_and_the_plainest_images_have_one(size: tuple[int, int]) -> None:
    assert 0 <= perceptual_hash(Image.new("RGB", size, (9, 90, 200))) < 1 << 64


def test_a_hash_made_of_the_thumbnail_is_all_but_that_of_the_pixels() -> None:
    differing = []
    for photo in PHOTOS:
        image = standardise(photo.body, Limits())
        differing.append((perceptual_hash_of(image.small) ^ image.perceptual_hash).bit_count())
    assert max(differing) <= 4
    assert sorted(differing)[len(differing) // 2] == 0


def test_a_mirrored_picture_is_another_one() -> None:
    for photo in PHOTOS[:5]:
        with Image.open(BytesIO(photo.body)) as opened:
            image = opened.convert("RGB")
        assert (perceptual_hash(image) ^ perceptual_hash(ImageOps.mirror(image))).bit_count() > 10
