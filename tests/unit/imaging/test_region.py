"""Regions name the same part of the picture however its file is turned."""

from io import BytesIO

import numpy as np
import pytest
from deeplens.imaging.limits import Limits
from deeplens.imaging.region import WHOLE, Box, box_of
from deeplens.imaging.standardise import standard_jpeg, standardise
from PIL import Image
from PIL.Image import Transpose

TURNED_BACK = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
"""What makes a file's pixels of the upright picture, by EXIF orientation."""


def picture() -> Image.Image:
    """Smooth, and different everywhere."""
    down, across = np.mgrid[0:300, 0:400]
    channels = np.stack([across * 255 / 399, down * 255 / 299, (across + down) * 255 / 698], axis=-1)
    return Image.fromarray(channels.astype(np.uint8))


def file_of(upright: Image.Image, orientation: int, format: str) -> bytes:
    turn, out, exif = TURNED_BACK[orientation], BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    (upright if turn is None else upright.transpose(turn)).save(out, format, exif=exif, quality=95)
    return out.getvalue()


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(jpeg)).convert("RGB"), np.int16)


@pytest.mark.parametrize("orientation", TURNED_BACK)
@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_a_region_is_of_the_upright_picture(orientation: int, format: str) -> None:
    box = box_of("40,60,200,90", 400, 300)
    assert box is not None

    actual = pixels(standard_jpeg(file_of(picture(), orientation, format), Limits(), box))

    expected = np.asarray(picture().crop((40, 60, 240, 150)), np.int16)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).mean() < 3


def test_a_region_of_a_large_picture_is_as_sharp_as_its_own_upload_would_be() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)).resize((4000, 3000))
    out, cut = BytesIO(), BytesIO()
    noise.save(out, "JPEG", quality=95)
    noise.crop((1000, 600, 3000, 1800)).save(cut, "JPEG", quality=95)
    box = box_of("1000,600,2000,1200", 4000, 3000)
    assert box is not None

    found, expected = (
        pixels(standard_jpeg(out.getvalue(), Limits(), box)),
        pixels(standard_jpeg(cut.getvalue(), Limits())),
    )

    assert found.shape == expected.shape == (512, 853, 3)
    assert np.abs(found - expected).mean() < 4


def test_the_whole_image_is_what_an_upload_becomes() -> None:
    body = file_of(picture(), 6, "JPEG")

    assert standard_jpeg(body, Limits()) == standard_jpeg(body, Limits(), WHOLE) == standardise(body, Limits()).jpeg


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ("0,0,400,300", WHOLE),
        ("100,75,200,150", Box(0.25, 0.25, 0.75, 0.75)),
        ("pct:25,25,50,50", Box(0.25, 0.25, 0.75, 0.75)),
        ("300,0,900,900", Box(0.75, 0, 1, 1)),
        ("pct:0,0,12.5,100", Box(0, 0, 0.125, 1)),
        ("400,0,10,10", None),
        ("0,0,0.5,10", None),
        ("pct:0,0,0.1,50", None),
    ],
)
def test_regions_as_iiif_writes_them(region: str, box: Box | None) -> None:
    assert box_of(region, 400, 300) == box
