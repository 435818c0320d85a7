"""Regions of images, in the syntax of the IIIF Image API 3.0, section 4.1."""

from typing import NamedTuple

PERCENT = "pct:"


class Box(NamedTuple):
    """Edges as fractions of the upright image, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Box(0, 0, 1, 1)


def box_of(region: str, width: int, height: int) -> Box | None:
    """Return the region ``x,y,w,h`` (pixels) or ``pct:x,y,w,h`` (percent).

    Parameters
    ----------
    width, height : of the upright image in pixels.

    Returns
    -------
    Box
        Clipped to the image; None when less than one pixel remains.
    """
    x, y, wide, high = (float(value) for value in region.removeprefix(PERCENT).split(","))
    across, down = (100, 100) if region.startswith(PERCENT) else (width, height)
    box = Box(x / across, y / down, min(1, (x + wide) / across), min(1, (y + high) / down))
    if (box.right - box.left) * width < 1 or (box.bottom - box.top) * height < 1:
        return None
    return box


def before_turning(box: Box, orientation: int) -> Box:
    """Map a box of the upright image to the file's pixels.

    Parameters
    ----------
    orientation : EXIF's, 1 to 8.
    """
    left, top, right, bottom = box
    if orientation in (5, 6, 7, 8):
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = 1 - right, 1 - left
    if orientation in (3, 4, 6, 7):
        top, bottom = 1 - bottom, 1 - top
    return Box(left, top, right, bottom)
