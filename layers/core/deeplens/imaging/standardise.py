"""One decode for everything: the standard JPEG that models read, and both thumbnails.

Uploads and query images pass through the same function, so that an upload searched with its own bytes finds itself.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from PIL import Image, ImageCms

from deeplens.errors import FileTooLarge, ImageCorrupt, InvalidImage, TooManyFrames, TooManyPixels
from deeplens.imaging.limits import Limits
from deeplens.imaging.sniff import FileType, sniff

SHORT_SIDE, LONG_SIDE = 512, 2048
THUMBNAIL_SIDES = {"small": 128, "medium": 512}
STANDARD_QUALITY, THUMBNAIL_QUALITY = 90, 82
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
    """

    jpeg: bytes
    small: bytes
    medium: bytes
    width: int
    height: int
    format: str
    mime_type: str


def inspect(body: bytes, limits: Limits) -> Header:
    """Check a file by its header only.

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
        medium = _within(standard, THUMBNAIL_SIDES["medium"])
        return Standardised(
            jpeg=_jpeg(standard, STANDARD_QUALITY),
            small=_jpeg(_within(medium, THUMBNAIL_SIDES["small"]), THUMBNAIL_QUALITY),
            medium=_jpeg(medium, THUMBNAIL_QUALITY),
            width=header.width,
            height=header.height,
            format=header.type.format,
            mime_type=header.type.mime_type,
        )


def thumbnail(body: bytes, size: str, limits: Limits) -> bytes:
    """One thumbnail, ``small`` or ``medium``, of an original or a standard JPEG."""
    image = standardise(body, limits)
    return image.small if size == "small" else image.medium


@contextmanager
def _opened(body: bytes, limits: Limits) -> Iterator[tuple[Image.Image, Header]]:
    """An image whose header is within the limits; whatever Pillow raises becomes ``ImageCorrupt``."""
    kind = sniff(body)
    if len(body) > limits.max_bytes:
        raise FileTooLarge(f"{len(body)} bytes; at most {limits.max_bytes} are accepted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _register(kind)
            with Image.open(BytesIO(body), formats=[kind.format]) as image:
                yield image, _header(image, kind, limits)
    except InvalidImage:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise ImageCorrupt(f"the {kind.format} file cannot be decoded") from error


def _register(kind: FileType) -> None:
    """HEIC needs a plug-in, imported only when the first such file comes."""
    if kind.format == "HEIF" and "HEIF" not in Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _header(image: Image.Image, kind: FileType, limits: Limits) -> Header:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"{width} × {height} pixels; at most {limits.max_pixels} are accepted")
    frames = _frames(image, limits.max_frames)
    if frames > limits.max_frames:
        raise TooManyFrames(f"more than {limits.max_frames} frames")
    turned = _orientation(image) in (5, 6, 7, 8)
    return Header(kind, *((height, width) if turned else (width, height)), frames)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Pillow has turned HEIC and AVIF already."""
    return int(image.getexif().get(ORIENTATION, 1)) if image.format in ("JPEG", "PNG", "WEBP", "TIFF", "MPO") else 1


def _frames(image: Image.Image, most: int) -> int:
    """Frames, counted no further than one more than ``most``: each costs a seek."""
    if not getattr(image, "is_animated", False) and image.format not in ("GIF", "TIFF"):
        return 1
    if image.format in ("GIF", "TIFF"):
        return _count_by_seeking(image, most)
    return int(getattr(image, "n_frames", 1))


def _count_by_seeking(image: Image.Image, most: int) -> int:
    count = 1
    try:
        while count <= most:
            image.seek(count)
            count += 1
    except EOFError:
        pass
    image.seek(0)
    return count


def _standard_raster(image: Image.Image) -> Image.Image:
    """RGB pixels of the standard size, turned as EXIF says."""
    orientation, size = _orientation(image), _standard_size(*image.size)
    # A JPEG is decoded at a fraction that still covers the size; others are reduced by whole steps first.
    image.draft(None, size)
    if image.mode in ("RGB", "L", "YCbCr", "CMYK") and "transparency" not in image.info:
        raster = _rgb(_resized(image, size))
    else:
        raster = _resized(_rgb(image), size)
    return raster.transpose(TURNS[orientation]) if orientation in TURNS else raster


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """``image`` at ``size``; its colour profile goes along."""
    if image.size == size:
        image.load()
        return image
    smaller = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    smaller.info = dict(image.info)
    return smaller


def _standard_size(width: int, height: int) -> tuple[int, int]:
    """Short side 512, long side at most 2,048, never more than the original."""
    scale = min(1.0, SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as sRGB: profiles applied, transparency on white, 16 bits scaled to 8."""
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        return _eight_bits(image).convert("RGB")
    if image.mode == "F":
        return image.point(lambda value: value * 255).convert("L").convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        return _to_srgb(Image.alpha_composite(white, with_alpha).convert("RGB"), image.info.get("icc_profile"))
    if image.mode == "CMYK":
        return image.convert("RGB")
    return _to_srgb(image.convert("RGB"), image.info.get("icc_profile"))


def _eight_bits(image: Image.Image) -> Image.Image:
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as a screen shows them; a profile that is broken or not RGB is ignored."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB" or "sRGB" in (source.profile.profile_description or ""):
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return cast("Image.Image", converted)


def _within(image: Image.Image, side: int) -> Image.Image:
    """A copy that fits a square box, never enlarged."""
    copy = image.copy()
    copy.thumbnail((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    return copy


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    # A fresh image carries no metadata; explicit empties keep Pillow from copying what ``info`` still holds.
    image.save(out, "JPEG", quality=quality, exif=b"", icc_profile=None)
    return out.getvalue()
