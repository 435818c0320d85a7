"""Files that are broken, or unfold to more than anyone wants to hold: refused by name, soon, and without harm."""

import contextlib
import struct
import time
import zlib
from dataclasses import replace

import pytest
from deeplens.errors import (
    DecoderOutOfMemory,
    EmptyFile,
    FileTooLarge,
    ImageCorrupt,
    InvalidImage,
    TooManyFrames,
    TooManyPixels,
    UnsupportedFormat,
)
from deeplens.imaging.frames import gif_frames, jpeg_scans, tiff_pages
from deeplens.imaging.limits import Limits
from deeplens.imaging.standardise import inspect, standardise, thumbnail
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.harness.pictures import difference, file_of, scene

# As in production, where they are off from the import on.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
LIMITS = Limits()
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", "AVIF")
WHOLE = {name: file_of(scene(120, 80), name) for name in FORMATS}
FULL_CHECKS = (inspect, standardise, lambda body, limits: thumbnail(body, "small", limits))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_claiming(width: int, height: int, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


def gif_claiming(width: int, height: int, frames: int = 1) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


def webp_claiming(width: int, height: int) -> bytes:
    content = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", len(content)) + content
    bits = (width - 1) | (height - 1) << 14
    pixels = b"VP8L" + struct.pack("<I", 12) + b"\x2f" + struct.pack("<I", bits) + b"\0" * 7
    body = b"WEBP" + extended + pixels
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_claiming(width: int, height: int) -> bytes:
    return patched(WHOLE["JPEG"], b"\xff\xc0", 5, struct.pack(">HH", height, width))


def bmp_claiming(width: int, height: int) -> bytes:
    return patched(WHOLE["BMP"], b"BM", 18, struct.pack("<ii", width, height))


def tiff_claiming(width: int, height: int) -> bytes:
    image = Image.new("L", (1, 1))
    body = bytearray(file_of(image, "TIFF"))
    for tag, value in ((256, width), (257, height)):
        at = body.index(
            struct.pack("<HH", tag, 4) if struct.pack("<HH", tag, 4) in body else struct.pack("<HH", tag, 3)
        )
        body[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(body)


def patched(body: bytes, after: bytes, offset: int, value: bytes) -> bytes:
    at = body.index(after) + offset
    return body[:at] + value + body[at + len(value) :]


def scan_bomb(scans: int) -> bytes:
    body = file_of(Image.new("RGB", (2000, 2000), "teal"), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    return body[:-2] + body[body.rindex(b"\xff\xc4", 0, last) : -2] * scans + body[-2:]


@pytest.mark.parametrize("check", FULL_CHECKS)
def test_an_empty_file_is_refused_as_empty(check) -> None:
    with pytest.raises(EmptyFile):
        check(b"", LIMITS)


def test_a_file_of_another_type_is_refused_as_unsupported() -> None:
    with pytest.raises(UnsupportedFormat, match="a PDF"):
        standardise(b"%PDF-1.7 pretending.jpg", LIMITS)


def test_bytes_count_up_to_the_limit() -> None:
    body = WHOLE["PNG"]
    assert standardise(body, replace(LIMITS, max_bytes=len(body))).width == 120
    with pytest.raises(FileTooLarge, match=str(len(body))):
        standardise(body, replace(LIMITS, max_bytes=len(body) - 1))


def test_pixels_count_up_to_the_limit() -> None:
    for name in FORMATS:
        assert inspect(WHOLE[name], replace(LIMITS, max_pixels=9600)).width == 120
        with pytest.raises(TooManyPixels, match="120 × 80"):
            inspect(WHOLE[name], replace(LIMITS, max_pixels=9599))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_frames_count_up_to_the_limit(image_format: str) -> None:
    others = [Image.new("RGB", (120, 80), colour) for colour in ("red", "blue", "red", "blue")]
    body = file_of(scene(120, 80), image_format, save_all=True, append_images=others)
    assert inspect(body, replace(LIMITS, max_frames=5)).frames == 5
    with pytest.raises(TooManyFrames, match="more than 4"):
        standardise(body, replace(LIMITS, max_frames=4))


@pytest.mark.parametrize(
    "body",
    [
        png_claiming(50_000, 50_000),
        png_claiming(2**31 - 1, 2**31 - 1),
        gif_claiming(65_535, 65_535),
        webp_claiming(16_000, 16_000),
        jpeg_claiming(65_500, 65_500),
        bmp_claiming(60_000, 60_000),
        bmp_claiming(60_000, -60_000),
        tiff_claiming(100_000, 100_000),
    ],
    ids=["png", "png-largest", "gif", "webp", "jpeg", "bmp", "bmp-upside-down", "tiff"],
)
@pytest.mark.parametrize("check", FULL_CHECKS)
def test_a_small_file_that_claims_to_be_huge_is_refused_unread(check, body: bytes) -> None:
    assert len(body) < 30_000
    started = time.perf_counter()
    with pytest.raises(TooManyPixels):
        check(body, LIMITS)
    assert time.perf_counter() - started < 1


def test_ten_thousand_frames_are_refused_unread() -> None:
    started = time.perf_counter()
    with pytest.raises(TooManyFrames):
        standardise(gif_claiming(1, 1, frames=10_000), LIMITS)
    assert time.perf_counter() - started < 1


def test_frames_are_counted_without_decoding_them() -> None:
    picture = Image.new("P", (5000, 5000))
    picture.putpalette([1, 2, 3])
    one = file_of(picture, "GIF")
    at = one.index(b",\0\0\0\0")
    body = one[:at] + one[at:-1] * 100 + b";"

    started = time.process_time()
    assert inspect(body, LIMITS).frames == 100
    assert time.process_time() - started < 1


def test_a_png_is_not_decoded_to_be_inspected() -> None:
    rows = zlib.compress(b"\0" * 27_001 * 9000, 1)
    body = png_claiming(9000, 9000, chunk(b"IDAT", rows))
    started = time.process_time()
    assert inspect(body, LIMITS).width == 9000
    assert time.process_time() - started < 0.1


def test_a_jpeg_of_endless_passes_is_refused_unread() -> None:
    body = scan_bomb(5000)
    started = time.process_time()
    with pytest.raises(ImageCorrupt, match="scans"):
        standardise(body, LIMITS)
    assert time.process_time() - started < 1


def test_ordinary_progressive_jpegs_are_accepted() -> None:
    assert difference(standardise(file_of(scene(), "JPEG", progressive=True), LIMITS).jpeg, scene()) < 4


@pytest.mark.parametrize(
    "trailer", [b"\xff\xda" * 500, b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * 500], ids=["bytes", "video"]
)
def test_what_phones_append_to_a_jpeg_does_no_harm(trailer: bytes) -> None:
    body = file_of(scene(), "JPEG") + trailer
    assert difference(standardise(body, LIMITS).jpeg, scene()) < 4


def test_a_thumbnail_in_the_header_does_no_harm() -> None:
    inner = b"Exif\0\0" + b"\xff\xda" * 500 + b"\xff\xd9"
    assert difference(standardise(file_of(scene(), "JPEG", exif=inner), LIMITS).jpeg, scene()) < 4


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_corrupt(image_format: str, kept: float) -> None:
    body = file_of(scene(300, 200), image_format)
    with pytest.raises(ImageCorrupt, match=image_format):
        standardise(body[: int(len(body) * kept)], LIMITS)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_header_with_nothing_behind_it_is_corrupt(image_format: str) -> None:
    for check in FULL_CHECKS:
        with pytest.raises(ImageCorrupt):
            check(WHOLE[image_format][:18], LIMITS)


def test_a_damaged_png_is_corrupt() -> None:
    body = bytearray(file_of(scene(300, 200), "PNG"))
    body[len(body) // 2] ^= 0xFF
    with pytest.raises(ImageCorrupt):
        standardise(bytes(body), LIMITS)


@settings(deadline=None)
@given(st.sampled_from(FORMATS), st.binary(max_size=300))
def test_no_bytes_behind_a_magic_number_crash_anything(image_format: str, tail: bytes) -> None:
    for head in (12, 40, 200):
        survives(WHOLE[image_format][:head] + tail)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_at_all_crash_anything(body: bytes) -> None:
    with pytest.raises(InvalidImage):
        standardise(body, LIMITS)


@settings(deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_no_damage_to_a_file_crashes_anything(image_format: str, data: st.DataObject) -> None:
    body = bytearray(WHOLE[image_format])
    for at in data.draw(st.lists(st.integers(0, min(400, len(body) - 1)), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    survives(bytes(body))


def survives(body: bytes) -> None:
    for check in FULL_CHECKS:
        with contextlib.suppress(InvalidImage):
            made = check(body, replace(LIMITS, max_pixels=1_000_000))
            assert made


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_counting_ends_at_the_limit_whatever_the_bytes(tail: bytes, most: int) -> None:
    assert 0 <= gif_frames(b"GIF89a" + b"\1\0\1\0\0\0\0" + tail, most) <= most + 1
    assert 0 <= tiff_pages(b"II*\0\x08\0\0\0" + tail, most) <= most + 1
    assert 0 <= tiff_pages(b"MM\0+\0\x08\0\0" + tail, most) <= most + 1
    assert 0 <= jpeg_scans(b"\xff\xd8" + tail + b"\xff\xda\0\2" * 9, most) <= most + 1


@pytest.mark.parametrize("big", [False, True])
def test_pages_of_a_tiff_are_counted_by_their_directories(big: bool) -> None:
    pages = [Image.new("RGB", (10, 10)) for _ in range(7)]
    body = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:], big_tiff=big)
    assert (body[2] == 43) is big
    assert [tiff_pages(body, most) for most in (100, 7, 6, 2)] == [7, 7, 7, 3]


def test_a_tiff_whose_pages_go_in_a_circle_ends() -> None:
    directory = struct.pack("<H", 0) + struct.pack("<I", 8)
    assert tiff_pages(b"II*\0" + struct.pack("<I", 8) + directory, 500) == 1


@pytest.mark.parametrize(
    ("mode", "options", "bytes_per_pixel"),
    [
        ("CMYK", {"progressive": True}, 8.0625),
        ("CMYK", {"progressive": True, "subsampling": 2}, 3.5625),
        ("RGB", {"progressive": True, "subsampling": 0}, 6.0625),
        ("RGB", {"progressive": True, "subsampling": 2}, 3.0625),
        ("L", {"progressive": True}, 2.0625),
        ("CMYK", {}, 0.0625),
    ],
)
def test_memory_of_progressive_jpegs_is_estimated_by_their_samples(mode: str, options, bytes_per_pixel: float) -> None:
    body = file_of(Image.new(mode, (4096, 4096)), "JPEG", **options)
    needed = round(4096 * 4096 * bytes_per_pixel)
    assert standardise(body, replace(LIMITS, max_memory_bytes=needed)).width == 4096
    with pytest.raises(DecoderOutOfMemory, match=str(needed)):
        standardise(body, replace(LIMITS, max_memory_bytes=needed - 1))


def test_the_largest_pictures_fit_into_the_memory() -> None:
    assert 8.25 * LIMITS.max_pixels < LIMITS.max_memory_bytes
