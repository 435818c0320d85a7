"""Convert pixels of any mode to sRGB."""

from io import BytesIO
from typing import cast

from PIL import Image, ImageCms

RESIZABLE_MODES = ("RGB", "RGBA", "L", "LA", "CMYK", "YCbCr")
"""Modes that Pillow resizes correctly, including alpha."""


def to_resizable(image: Image.Image) -> Image.Image:
    """Convert to a mode that resizes correctly: no palette, no 16 bits, transparency as a channel."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if "transparency" in image.info or image.mode == "PA":
        return image.convert("RGBA")
    if image.mode in RESIZABLE_MODES:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a to_resizable image to RGB, with transparency on white and the colour profile applied."""
    if image.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    rgb = image.convert("RGB")
    return rgb if image.mode == "CMYK" else _apply_profile(rgb, profile)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale wide grey values to 8 bits; modes without a fixed range use the smallest usual one that fits."""
    full = 65535.0
    if image.mode in ("I", "F"):
        brightest = float(cast("tuple[float, float]", image.getextrema())[1])
        usual = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
        full = next((top for top in usual if brightest <= top), brightest)
    scale = 255 / full
    # Pillow scales 16 bits only in one byte order.
    plain = image.convert("I") if image.mode in ("I;16B", "I;16L", "I;16N") else image
    return plain.point(lambda value: value * scale).convert("L")


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB; a profile that is broken or not RGB is ignored."""
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
