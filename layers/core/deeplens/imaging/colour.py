"""Pixels of any mode as sRGB."""

from io import BytesIO
from typing import cast

from PIL import Image, ImageCms

SCALED = ("RGB", "RGBA", "L", "LA", "CMYK", "YCbCr")
"""Modes that Pillow resizes as they are, alpha taken into account."""


def resizable(image: Image.Image) -> Image.Image:
    """``image`` in a mode that can be resized well: no palette, no 16 bits, transparency as a channel."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if "transparency" in image.info or image.mode == "PA":
        return image.convert("RGBA")
    if image.mode in SCALED:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A resizable image as RGB: transparency on white, its colour profile applied."""
    if image.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        return _profiled(image.convert("RGB"), profile)
    if image.mode == "CMYK":
        return image.convert("RGB")
    return _profiled(image.convert("RGB"), profile)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Wide grey values as 8 bits; without a fixed range, the smallest usual one that holds the brightest pixel."""
    full = 65535.0
    if image.mode in ("I", "F"):
        brightest = float(cast("tuple[float, float]", image.getextrema())[1])
        usual = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
        full = next((top for top in usual if brightest <= top), brightest)
    scale = 255 / full
    # Pillow scales 16 bits in one byte order only.
    plain = image.convert("I") if image.mode in ("I;16B", "I;16L", "I;16N") else image
    return plain.point(lambda value: value * scale).convert("L")


def _profiled(image: Image.Image, profile: bytes | None) -> Image.Image:
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
