"""Any picture in, the same standard pictures out."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from deeplens.imaging.limits import Limits
from deeplens.imaging.standardise import inspect, standardise, thumbnail
from PIL import Image, ImageCms

from tests.harness.pictures import TURN_AWAY, difference, file_of, opened, oriented, scene

LIMITS = Limits()
FORMATS = {
    "JPEG": {"quality": 92},
    "PNG": {},
    "WEBP": {"quality": 92},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "HEIF": {"quality": 92},
    "AVIF": {"quality": 92, "speed": 10},
}
DERIVED = ("jpeg", "small", "medium")


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_becomes_the_same_standard_pictures(image_format: str) -> None:
    picture = scene(1200, 800)
    made = standardise(file_of(picture, image_format, **FORMATS[image_format]), LIMITS)

    assert (made.width, made.height, made.format) == (1200, 800, image_format)
    for name, size in {"jpeg": (768, 512), "small": (128, 85), "medium": (512, 341)}.items():
        derived = opened(getattr(made, name))
        assert (derived.format, derived.mode, derived.size) == ("JPEG", "RGB", size)
        assert difference(getattr(made, name), picture) < (8 if image_format == "GIF" else 4)


@pytest.mark.parametrize(
    ("original", "standard", "medium", "small"),
    [
        ((1, 1), (1, 1), (1, 1), (1, 1)),
        ((100, 60), (100, 60), (100, 60), (100, 60)),
        ((512, 512), (512, 512), (512, 512), (128, 128)),
        ((513, 700), (512, 699), (375, 512), (94, 128)),
        ((2000, 500), (2000, 500), (512, 128), (128, 32)),
        ((5000, 500), (2048, 205), (512, 51), (128, 13)),
        ((1, 5000), (1, 2048), (1, 512), (1, 128)),
        ((5000, 1), (2048, 1), (512, 1), (128, 1)),
        ((3000, 2), (2048, 1), (512, 1), (128, 1)),
        ((1024, 1024), (512, 512), (512, 512), (128, 128)),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_pictures_are_reduced_and_never_enlarged(
    image_format: str, original: tuple[int, int], standard: tuple[int, int], medium: tuple[int, int], small: tuple
) -> None:
    made = standardise(file_of(Image.new("RGB", original, "teal"), image_format), LIMITS)
    sizes = [opened(getattr(made, name)).size for name in ("jpeg", "medium", "small")]
    assert sizes == [standard, medium, small]
    assert (made.width, made.height) == original


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_pictures_are_upright_whatever_their_orientation(image_format: str, orientation: int) -> None:
    upright = scene(900, 600)
    stored = upright.transpose(TURN_AWAY[orientation]) if orientation in TURN_AWAY else upright
    body = file_of(stored, image_format, exif=oriented(orientation).tobytes())

    made, header = standardise(body, LIMITS), inspect(body, LIMITS)

    assert (made.width, made.height) == (header.width, header.height) == (900, 600)
    assert opened(made.jpeg).size == (768, 512)
    for name in DERIVED:
        assert difference(getattr(made, name), upright) < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0not exif at all", b"Exif\0\0II*\0\xff\xff\xff\xff", oriented(9).tobytes(), oriented(0).tobytes()]
)
def test_broken_exif_does_not_refuse_a_picture(exif: bytes) -> None:
    picture = scene()
    made = standardise(file_of(picture, "JPEG", exif=exif), LIMITS)
    assert difference(made.jpeg, picture) < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = scene(1100, 700)
    made = standardise(file_of(picture.convert(mode), "TIFF"), LIMITS)
    expected = picture.convert("L") if mode in ("1", "L", "LA") else picture
    assert difference(made.jpeg, expected) < 6
    assert opened(made.jpeg).mode == "RGB"


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(image_format: str) -> None:
    grey = scene().convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((value, value)) for value in grey.tobytes()))
    assert difference(standardise(file_of(deep, image_format), LIMITS).jpeg, grey) < 2


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    body = file_of(Image.new("I;16", (64, 64), 2570), "PNG")
    assert difference(standardise(body, LIMITS).jpeg, Image.new("RGB", (1, 1), (10, 10, 10))) < 1


def test_sixteen_bits_in_the_other_byte_order_are_read_alike() -> None:
    pixels = scene(64, 64).convert("L").tobytes()
    big = Image.frombytes("I;16B", (64, 64), b"".join(bytes((value, value)) for value in pixels))
    assert difference(standardise(file_of(big, "TIFF"), LIMITS).jpeg, scene(64, 64).convert("L")) < 2


@pytest.mark.parametrize(("mode", "factor"), [("F", 1 / 255), ("F", 1), ("F", 257), ("I", 1), ("I", 257), ("I", 9999)])
def test_grey_values_without_a_fixed_range_are_fitted(mode: str, factor: float) -> None:
    grey = Image.linear_gradient("L")
    wide = grey.convert(mode).point(lambda value: value * factor)
    assert difference(standardise(file_of(wide, "TIFF"), LIMITS).jpeg, grey) < 2


@pytest.mark.parametrize(("mode", "image_format"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG"), ("RGBA", "AVIF")])
def test_what_is_transparent_is_white(mode: str, image_format: str) -> None:
    picture = Image.new(mode, (800, 800), 0)
    picture.paste(Image.new(mode, (800, 400), {"RGBA": (0, 0, 0, 255), "LA": (0, 255)}[mode]), (0, 0))
    expected = Image.new("RGB", (800, 800), "white")
    expected.paste((0, 0, 0), (0, 0, 800, 400))
    assert difference(standardise(file_of(picture, image_format, lossless=True), LIMITS).jpeg, expected) < 3


def test_half_transparent_edges_are_mixed_with_white() -> None:
    made = standardise(file_of(Image.new("RGBA", (700, 700), (255, 0, 0, 128))), LIMITS)
    assert difference(made.jpeg, Image.new("RGB", (1, 1), (255, 127, 127))) < 3


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(image_format: str) -> None:
    picture = Image.new("P", (600, 600), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 600, 300))
    expected = Image.new("RGB", (600, 600), (0, 0, 255))
    expected.paste((255, 255, 255), (0, 0, 600, 300))
    assert difference(standardise(file_of(picture, image_format, transparency=0), LIMITS).jpeg, expected) < 3


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (255, 0, 255)), ("L", 77)])
def test_a_colour_that_means_transparent_is_white(mode: str, colour: int | tuple) -> None:
    made = standardise(file_of(Image.new(mode, (40, 40), colour), "PNG", transparency=colour), LIMITS)
    assert difference(made.jpeg, Image.new("RGB", (1, 1), "white")) < 2


def test_adobe_cmyk_is_not_inverted() -> None:
    picture = scene()
    assert difference(standardise(file_of(picture.convert("CMYK"), "JPEG", quality=95), LIMITS).jpeg, picture) < 4


def test_a_colour_profile_is_applied() -> None:
    profile = channels_swapped()
    picture = Image.new("RGB", (900, 700), (200, 40, 40))
    expected = ImageCms.profileToProfile(
        picture, ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    assert expected is not None
    assert expected.getpixel((0, 0)) != (200, 40, 40)

    for image_format in ("JPEG", "PNG", "TIFF"):
        made = standardise(file_of(picture, image_format, icc_profile=profile), LIMITS)
        assert difference(made.jpeg, expected) < 3


def channels_swapped() -> bytes:
    """An RGB profile whose red and green primaries have changed places."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = srgb.replace(b"sRGB", b"test").replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return renamed.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


@pytest.mark.parametrize("profile", [b"broken", b"\0" * 200])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    picture = scene()
    assert difference(standardise(file_of(picture, "PNG", icc_profile=profile), LIMITS).jpeg, picture) < 4


def test_a_grey_profile_on_a_colour_picture_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = scene()
    assert difference(standardise(file_of(picture, "PNG", icc_profile=profile), LIMITS).jpeg, picture) < 4


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(image_format: str) -> None:
    first, others = scene(), [Image.new("RGB", (600, 400), colour) for colour in ("red", "blue", "red")]
    body = file_of(first, image_format, save_all=True, append_images=others)
    assert inspect(body, LIMITS).frames == 4
    assert difference(standardise(body, LIMITS).jpeg, first) < 5


def test_the_preview_that_phones_add_to_a_jpeg_is_not_taken() -> None:
    body = file_of(scene(3000, 2000), "MPO", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")])
    made = standardise(body, LIMITS)
    assert (made.width, made.height, made.mime_type) == (3000, 2000, "image/jpeg")
    assert difference(made.jpeg, scene()) < 4


def test_an_embedded_thumbnail_of_a_heic_is_not_taken() -> None:
    body = file_of(scene(1200, 800), "HEIF", thumbnails=[1000])
    plain = file_of(scene(1200, 800), "HEIF")
    assert len(body) != len(plain)
    assert standardise(body, LIMITS).jpeg == standardise(plain, LIMITS).jpeg


@pytest.mark.parametrize("size", [(300, 200), (1500, 1000)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_derived_files_carry_no_metadata(image_format: str, size: tuple[int, int]) -> None:
    exif = oriented(1)
    exif[0x010E] = "SECRET description"
    exif.get_ifd(0x8825)[2] = (51.0, 12.0, 0.0)
    options = {
        "JPEG": {"exif": exif, "comment": b"SECRET", "xmp": b"<x>SECRET</x>", "dpi": (300, 300)},
        "PNG": {"exif": exif},
        "TIFF": {"exif": exif, "description": "SECRET"},
        "WEBP": {"exif": exif, "xmp": b"<x>SECRET</x>"},
        "GIF": {"comment": b"SECRET"},
    }[image_format]
    profile = {"icc_profile": channels_swapped()} if image_format != "GIF" else {}
    body = file_of(scene(*size), image_format, **options, **profile)
    assert b"SECRET" in body

    made = standardise(body, LIMITS)

    for derived in (made.jpeg, made.small, made.medium, thumbnail(body, "small", LIMITS)):
        assert opened(derived).info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert not opened(derived).getexif()
        assert not any(word in derived for word in (b"SECRET", b"Exif", b"ICC_PROFILE", b"http", b"GPS"))
        assert b"\xff\xfe" not in derived[:200]


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_same_bytes_always_give_the_same_files(image_format: str) -> None:
    body = file_of(scene(1000, 700), image_format)
    expected = standardise(body, LIMITS)
    with ThreadPoolExecutor(8) as pool:
        assert all(made == expected for made in pool.map(lambda _: standardise(body, LIMITS), range(8)))


def test_many_threads_at_once_do_not_disturb_each_other() -> None:
    bodies = [file_of(scene(700 + 10 * number, 500), name) for number, name in enumerate(FORMATS)]
    expected = [standardise(body, LIMITS) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda body: standardise(body, LIMITS), bodies * 3)) == expected * 3


@pytest.mark.parametrize(("size", "side"), [("small", 128), ("medium", 512)])
def test_a_thumbnail_alone_is_like_the_one_made_with_the_rest(size: str, side: int) -> None:
    body = file_of(scene(1600, 900), "JPEG")
    whole = standardise(body, LIMITS)
    assert max(opened(thumbnail(body, size, LIMITS)).size) == side
    assert difference(thumbnail(body, size, LIMITS), opened(getattr(whole, size))) < 1
    assert difference(thumbnail(whole.jpeg, size, LIMITS), opened(getattr(whole, size))) < 2


def test_only_known_thumbnail_sizes_are_made() -> None:
    with pytest.raises(KeyError):
        thumbnail(file_of(scene()), "huge", LIMITS)


def test_a_large_jpeg_is_not_decoded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = Image.Image.resize

    def watched(image: Image.Image, *args: object, **options: object) -> Image.Image:
        loaded.append(image.size)
        return load(image, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    standardise(file_of(Image.new("RGB", (6000, 4000)), "JPEG"), LIMITS)
    assert loaded[0] == (1500, 1000)
