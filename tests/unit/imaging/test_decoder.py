"""Pictures that are decoded in the child process: the same results for every kind of file, and the same errors."""

import pytest
from deeplens.errors import EmptyFile, ImageCorrupt, TooManyPixels, UnsupportedFormat
from deeplens.imaging.limits import Limits
from deeplens.imaging.perceptual_hash import perceptual_hash_of
from deeplens.imaging.region import Box
from deeplens.imaging.standardise import inspect, standard_jpeg, standardise, thumbnail
from PIL import Image, ImageCms

from tests.harness.decoders import image_decoder
from tests.harness.pictures import file_of, oriented, scene

LIMITS = Limits()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PICTURE = scene(600, 400)
OTHER = Image.new("RGB", (600, 400), "teal")
FILES = {
    **{name: file_of(PICTURE, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", "AVIF")},
    **{
        f"turned {name}": file_of(PICTURE, name, exif=oriented(6).tobytes())
        for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
    },
    **{
        f"animated {name}": file_of(PICTURE, name, save_all=True, append_images=[OTHER])
        for name in ("GIF", "WEBP", "PNG")
    },
    "frames of AVIF": file_of(PICTURE, "AVIF", save_all=True, append_images=[OTHER]),
    "several JPEGs": file_of(PICTURE, "MPO", save_all=True, append_images=[OTHER]),
    "progressive": file_of(PICTURE, "JPEG", progressive=True),
    "with a profile": file_of(PICTURE, "JPEG", icc_profile=SRGB),
    "with another profile": file_of(PICTURE, "PNG", icc_profile=LAB),
    "with a resolution": file_of(PICTURE, "PNG", dpi=(300, 300)),
    "with a palette": file_of(PICTURE.convert("P"), "PNG"),
    "with a transparent palette": file_of(PICTURE.convert("P"), "PNG", transparency=3),
    **{f"PNG in {mode}": file_of(PICTURE.convert(mode), "PNG") for mode in ("1", "L", "LA", "RGBA")},
    "PNG of 16 bits": file_of(PICTURE.convert("I").convert("I;16"), "PNG"),
    **{f"TIFF in {mode}": file_of(PICTURE.convert(mode), "TIFF") for mode in ("CMYK", "YCbCr", "F", "I", "1")},
    **{
        f"TIFF {name}": file_of(PICTURE, "TIFF", compression=name)
        for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")
    },
    "fax": file_of(PICTURE.convert("1"), "TIFF", compression="group4"),
    "JPEG in CMYK": file_of(PICTURE.convert("CMYK"), "JPEG"),
    "lossless WebP": file_of(PICTURE.convert("RGBA"), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_the_same_as_without_the_child(name: str) -> None:
    body, decoder = FILES[name], image_decoder()
    assert decoder.inspect(body) == inspect(body, LIMITS)
    assert decoder.standardise(body) == standardise(body, LIMITS)
    assert decoder.thumbnail(body, "small") == thumbnail(body, "small", LIMITS)
    box = Box(0.1, 0.2, 0.7, 0.9)
    assert decoder.standard_jpeg(body, box) == standard_jpeg(body, LIMITS, box)


def test_a_hash_is_the_same_as_without_the_child() -> None:
    small = thumbnail(FILES["JPEG"], "small", LIMITS)
    assert image_decoder().perceptual_hash(small) == perceptual_hash_of(small)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyFile),
        (b"%PDF-1.7", UnsupportedFormat),
        (FILES["PNG"][:3000], ImageCorrupt),
        (FILES["HEIF"][:900], ImageCorrupt),
        (file_of(Image.new("1", (20_000, 10_000)), "PNG"), TooManyPixels),
    ],
)
def test_errors_are_the_same_as_without_the_child(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as expected:
        standardise(body, LIMITS)
    with pytest.raises(error) as actual:
        image_decoder().standardise(body)
    assert str(actual.value) == str(expected.value)
