"""One decode for everything: the standard JPEG that models read, and both thumbnails.

Uploads and query images pass through the same function, so that an upload searched with its own bytes finds itself.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import ceil

from PIL import Image

from deeplens.errors import FileTooLarge, ImageCorrupt, InvalidImage, TooManyFrames, TooManyPixels
from deeplens.formats.images import FileType, sniff
from deeplens.imaging.colour import resizable, to_srgb
from deeplens.imaging.frames import gif_frames, jpeg_scans, tiff_pages
from deeplens.imaging.limits import Limits
from deeplens.imaging.memory import DECODING
from deeplens.imaging.perceptual_hash import perceptual_hash
from deeplens.imaging.region import WHOLE, Box, before_turning

SHORT_SIDE, LONG_SIDE = 512, 2048
THUMBNAIL_SIDES = {"small": 128, "medium": 512}
STANDARD_QUALITY, THUMBNAIL_QUALITY = 90, 82
MAX_JPEG_SCANS = 200
JPEGS = ("JPEG", "MPO")
PEAK_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 12, "HEIF": 8}
"""Measured; decoders with buffers of their own beside Pillow's four bytes."""
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
"""What turns a raster upright, by EXIF orientation."""
# Limits are ours, checked on the header; Pillow's own would only warn.
Image.MAX_IMAGE_PIXELS = None
# Once, at import: catching warnings around each call would change them for all threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before it is decoded; sides as they are shown, orientation applied."""

    type: FileType
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class Standardised:
    """An original's standard forms, all RGB JPEG files without metadata.

    Attributes
    ----------
    jpeg : short side 512, long side at most 2,048, never enlarged.
    small, medium : fit 128 × 128 and 512 × 512, never enlarged.
    width, height : of the original in pixels, orientation applied.
    perceptual_hash : of the small one before it is compressed.
    """

    jpeg: bytes
    small: bytes
    medium: bytes
    width: int
    height: int
    format: str
    mime_type: str
    perceptual_hash: int


def inspect(body: bytes, limits: Limits) -> Header:
    """Check a file by its header, without decoding it.

    Raises
    ------
    InvalidImage
        ``EmptyFile``, ``FileTooLarge``, ``UnsupportedFormat``, ``ImageCorrupt``, ``TooManyPixels``, ``TooManyFrames``.
    """
    with _opened(body, limits) as (_, header):
        return header


def standardise(body: bytes, limits: Limits) -> Standardised:
    """Decode an image once and make its standard forms; the same bytes give the same result.

    A JPEG is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that still covers the standard size.

    Raises
    ------
    InvalidImage
        As ``inspect``, and ``ImageCorrupt`` for what breaks while decoding.
    """
    with _opened(body, limits) as (image, header):
        standard = _standard_raster(image)
    medium = _within(standard, "medium")
    small = _within(medium, "small")
    return Standardised(
        jpeg=_jpeg(standard, STANDARD_QUALITY),
        small=_jpeg(small, THUMBNAIL_QUALITY),
        medium=_jpeg(medium, THUMBNAIL_QUALITY),
        width=header.width,
        height=header.height,
        format=header.type.format,
        mime_type=header.type.mime_type,
        perceptual_hash=perceptual_hash(small),
    )


def standard_jpeg(body: bytes, limits: Limits, part: Box = WHOLE) -> bytes:
    """Only the standard JPEG, of the whole image or as if ``part`` were all of it. Raises as ``standardise`` does."""
    with _opened(body, limits) as (image, _):
        return _jpeg(_standard_raster(image, part), STANDARD_QUALITY)


def thumbnail(body: bytes, size: str, limits: Limits) -> bytes:
    """One thumbnail, ``small`` or ``medium``, of an original or a standard JPEG. Raises as ``standardise`` does."""
    with _opened(body, limits) as (image, _):
        standard = _standard_raster(image)
    return _jpeg(_within(standard, size), THUMBNAIL_QUALITY)


@contextmanager
def _opened(body: bytes, limits: Limits) -> Iterator[tuple[Image.Image, Header]]:
    """An image whose header is within the limits; whatever Pillow raises becomes ``ImageCorrupt``."""
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
    """HEIC needs a plug-in, imported only when the first such file comes."""
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
    if kind.format == "JPEG" and jpeg_scans(body, MAX_JPEG_SCANS) > MAX_JPEG_SCANS:
        raise ImageCorrupt(f"the JPEG file has more than {MAX_JPEG_SCANS} scans")
    turned = _orientation(image) in (5, 6, 7, 8)
    return Header(kind, *((height, width) if turned else (width, height)), frames)


def _frames(image: Image.Image, body: bytes, most: int) -> int:
    match image.format:
        case "GIF":
            return gif_frames(body, most)
        case "TIFF":
            return tiff_pages(body, most)
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 for what cannot be read.

    Pillow has turned TIFF already, and its plug-in HEIC. EXIF that comes after a PNG's pixels is not looked for, as
    the whole file would have to be decoded.
    """
    if image.format in ("TIFF", "HEIF") or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        value = image.getexif().get(ORIENTATION)
        return value if value in TURNS else 1
    except Exception:
        # Broken EXIF is common, and says nothing about the pixels.
        return 1


def _standard_raster(image: Image.Image, part: Box = WHOLE) -> Image.Image:
    """RGB pixels of the standard size, turned as EXIF says, without anything else of the file."""
    full, orientation = image.size, _orientation(image)
    box = before_turning(part, orientation)
    size = _standard_size(*_pixels(box, full))
    if image.format in JPEGS:
        # Decoded at a fraction that still covers the size. HEIC would give an embedded thumbnail, which may differ.
        image.draft(None, _covering(size, box))
    with DECODING.holding(_peak_bytes(image, full)):
        smaller = _resized(resizable(image), size, box)
    raster = to_srgb(smaller, image.info.get("icc_profile"))
    if orientation in TURNS:
        raster = raster.transpose(TURNS[orientation])
    # What is left here of comments and the like would be written to every derived file.
    raster.info = {}
    return raster


def _resized(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    width, height = image.size
    inside = (box.left * width, box.top * height, box.right * width, box.bottom * height)
    return image.resize(size, Image.Resampling.BICUBIC, box=inside, reducing_gap=2.0)


def _pixels(box: Box, full: tuple[int, int]) -> tuple[int, int]:
    """Sides of a part, at least one pixel each."""
    return max(1, round((box.right - box.left) * full[0])), max(1, round((box.bottom - box.top) * full[1]))


def _covering(size: tuple[int, int], box: Box) -> tuple[int, int]:
    """The least size of the whole image in which its part has ``size``."""
    return ceil(size[0] / (box.right - box.left)), ceil(size[1] / (box.bottom - box.top))


def _peak_bytes(image: Image.Image, full: tuple[int, int]) -> int:
    """About what decoding and converting takes; progressive JPEGs are held as coefficients in full size first."""
    width, height = image.size
    each = PEAK_BYTES_PER_PIXEL.get(image.format or "", 4 if image.mode in ("L", "RGB", "CMYK", "YCbCr") else 9)
    coefficients = 3 * full[0] * full[1] if "progressive" in image.info else 0
    return width * height * each + coefficients


def _standard_size(width: int, height: int) -> tuple[int, int]:
    """Short side 512, long side at most 2,048, never more than the original."""
    scale = min(1.0, SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _within(image: Image.Image, size: str) -> Image.Image:
    """A copy that fits the thumbnail's box, never enlarged."""
    side = THUMBNAIL_SIDES[size]
    copy = image.copy()
    copy.thumbnail((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    return copy


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
