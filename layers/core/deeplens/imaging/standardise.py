"""Decode an image once to the standard JPEG that models read and to both thumbnails.

Uploads and query images are standardised by the same function, so that a search with an upload's bytes finds it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import ceil

from PIL import Image

from deeplens.errors import (
    DecoderOutOfMemory,
    FileTooLarge,
    ImageCorrupt,
    InvalidImage,
    TooManyFrames,
    TooManyPixels,
)
from deeplens.formats.images import FileType, sniff
from deeplens.imaging.colour import to_resizable, to_srgb
from deeplens.imaging.frames import gif_frames, jpeg_scans, tiff_pages
from deeplens.imaging.limits import Limits
from deeplens.imaging.model import Header, Standardised
from deeplens.imaging.perceptual_hash import perceptual_hash
from deeplens.imaging.region import WHOLE, Box, before_turning

SHORT_SIDE, LONG_SIDE = 512, 2048
THUMBNAIL_SIDES = {"small": 128, "medium": 512}
STANDARD_QUALITY, THUMBNAIL_QUALITY = 90, 82
MAX_JPEG_SCANS = 200
JPEGS = ("JPEG", "MPO")
PEAK_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 12, "HEIF": 8}
"""Measured; these decoders have buffers besides Pillow's four bytes."""
BYTES_PER_COEFFICIENT = 2
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions to the upright image, by EXIF orientation."""
# Our limits are checked on the header; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
# Once, at import: catching warnings around each call would change them for all threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")


def inspect(body: bytes, limits: Limits) -> Header:
    """Check a file by its header, without decoding it.

    Raises
    ------
    InvalidImage
        ``EmptyFile``, ``FileTooLarge``, ``UnsupportedFormat``, ``ImageCorrupt``, ``TooManyPixels``, ``TooManyFrames``.
    """
    with _open(body, limits) as (_, header):
        return header


def standardise(body: bytes, limits: Limits) -> Standardised:
    """Decode an image once and make its standard forms; the result depends on the bytes alone.

    A JPEG is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that still covers the standard size.

    Raises
    ------
    InvalidImage
        As ``inspect``, and ``ImageCorrupt`` when decoding fails.
    """
    with _open(body, limits) as (image, header):
        standard = _standard_raster(image, limits)
    medium = _within(standard, "medium")
    small = _within(medium, "small")
    return Standardised(
        jpeg=_jpeg(standard, STANDARD_QUALITY),
        small=_jpeg(small, THUMBNAIL_QUALITY),
        medium=_jpeg(medium, THUMBNAIL_QUALITY),
        width=header.width,
        height=header.height,
        type=header.type,
        perceptual_hash=perceptual_hash(small),
    )


def standard_jpeg(body: bytes, limits: Limits, part: Box = WHOLE) -> bytes:
    """Return only the standard JPEG, of the whole image or of ``part``. Raises as ``standardise`` does."""
    with _open(body, limits) as (image, _):
        return _jpeg(_standard_raster(image, limits, part), STANDARD_QUALITY)


def thumbnail(body: bytes, size: str, limits: Limits) -> bytes:
    """Return one thumbnail, ``small`` or ``medium``, of an original or a standard JPEG. Raises as ``standardise``."""
    with _open(body, limits) as (image, _):
        standard = _standard_raster(image, limits)
    return _jpeg(_within(standard, size), THUMBNAIL_QUALITY)


def upright_jpeg(image: Image.Image, degrees: int, side: int) -> bytes:
    """Return a decoded RGB frame as an upright JPEG file.

    Parameters
    ----------
    degrees : counter-clockwise rotation to the upright frame.
    side : pixels of the longer side at most; the frame is never enlarged.
    """
    if degrees % 360:
        image = image.rotate(degrees, expand=True)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _jpeg(image, STANDARD_QUALITY)


@contextmanager
def _open(body: bytes, limits: Limits) -> Iterator[tuple[Image.Image, Header]]:
    """Open an image and check its header; errors of Pillow become ``ImageCorrupt``."""
    kind = sniff(body)
    if len(body) > limits.max_bytes:
        raise FileTooLarge(f"{len(body)} bytes; at most {limits.max_bytes} are accepted")
    try:
        _register(kind)
        with Image.open(BytesIO(body), formats=[kind.format]) as image:
            yield image, _header(image, kind, body, limits)
    except (InvalidImage, MemoryError):
        raise
    except Exception as error:
        raise ImageCorrupt(f"the {kind.format} file cannot be decoded") from error


def _register(kind: FileType) -> None:
    """Import the plug-in for HEIC at the first such file."""
    if kind.format == "HEIF" and "HEIF" not in Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _header(image: Image.Image, kind: FileType, body: bytes, limits: Limits) -> Header:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"{width} × {height} pixels; at most {limits.max_pixels} are accepted")
    frames = _frames(image, body, limits.max_frames)
    if frames > limits.max_frames:
        raise TooManyFrames(f"more than {limits.max_frames} frames")
    if kind.format == "JPEG":
        image.info["scans"] = jpeg_scans(body, MAX_JPEG_SCANS)
        if image.info["scans"] > MAX_JPEG_SCANS:
            raise ImageCorrupt(f"the JPEG file has more than {MAX_JPEG_SCANS} scans")
    turned = _orientation(image) in (5, 6, 7, 8)
    return Header(kind, *((height, width) if turned else (width, height)), frames)


def _frames(image: Image.Image, body: bytes, limit: int) -> int:
    match image.format:
        case "GIF":
            return gif_frames(body, limit)
        case "TIFF":
            return tiff_pages(body, limit)
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 when it cannot be read.

    Pillow has applied that of TIFF, and its plug-in that of HEIC. EXIF after the pixels of a PNG is ignored, as reading
    it would decode the whole file.
    """
    if image.format in ("TIFF", "HEIF") or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        value = image.getexif().get(ORIENTATION)
        return value if value in TURNS else 1
    except Exception:
        # Broken EXIF is common, and the pixels are usually fine.
        return 1


def _standard_raster(image: Image.Image, limits: Limits, part: Box = WHOLE) -> Image.Image:
    """Return upright RGB pixels of the standard size, without metadata."""
    full, orientation = image.size, _orientation(image)
    box = before_turning(part, orientation)
    size = _standard_size(*_pixels(box, full))
    if image.format in JPEGS:
        # Decode at a fraction that covers the size. Not HEIC, which would return an embedded thumbnail that may differ.
        image.draft(None, _covering(size, box))
    if (needed := _peak_bytes(image, full)) > limits.max_memory_bytes:
        # Decoders that run out of memory report all kinds of errors.
        detail = f"decoding takes {needed} bytes of memory, of {limits.max_memory_bytes} at most; save it smaller"
        raise DecoderOutOfMemory(detail)
    smaller = _resize(to_resizable(image), size, box)
    raster = to_srgb(smaller, image.info.get("icc_profile"))
    if orientation in TURNS:
        raster = raster.transpose(TURNS[orientation])
    # Remaining metadata such as comments would be written to every derived file.
    raster.info = {}
    return raster


def _resize(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    width, height = image.size
    inside = (box.left * width, box.top * height, box.right * width, box.bottom * height)
    return image.resize(size, Image.Resampling.BICUBIC, box=inside, reducing_gap=2.0)


def _pixels(box: Box, full: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a region, at least one pixel each."""
    return max(1, round((box.right - box.left) * full[0])), max(1, round((box.bottom - box.top) * full[1]))


def _covering(size: tuple[int, int], box: Box) -> tuple[int, int]:
    """Return the smallest size of the whole image in which the region has ``size``."""
    return ceil(size[0] / (box.right - box.left)), ceil(size[1] / (box.bottom - box.top))


def _peak_bytes(image: Image.Image, full: tuple[int, int]) -> int:
    """Estimate the memory for decoding and converting; JPEGs of several scans are full-size coefficients first."""
    width, height = image.size
    each = PEAK_BYTES_PER_PIXEL.get(image.format or "", 4 if image.mode in ("L", "RGB", "CMYK", "YCbCr") else 9)
    coefficients = _samples_per_pixel(image) * BYTES_PER_COEFFICIENT if image.info.get("scans", 1) > 1 else 0
    return width * height * each + round(full[0] * full[1] * coefficients)


def _samples_per_pixel(image: Image.Image) -> float:
    """Return the samples of a JPEG that are stored per pixel: 1.5 to 3 in colour, and up to 4 in CMYK."""
    factors: list[tuple[int, int]] = [(across, down) for _, across, down, _ in image.layer]  # type: ignore[attr-defined]
    largest = max(across for across, _ in factors) * max(down for _, down in factors)
    return sum(across * down for across, down in factors) / largest


def _standard_size(width: int, height: int) -> tuple[int, int]:
    """Return a size with short side 512 and long side at most 2,048, never larger than the original."""
    scale = min(1.0, SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _within(image: Image.Image, size: str) -> Image.Image:
    """Return a copy that fits the thumbnail's box, never enlarged."""
    side = THUMBNAIL_SIDES[size]
    copy = image.copy()
    copy.thumbnail((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    return copy


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
