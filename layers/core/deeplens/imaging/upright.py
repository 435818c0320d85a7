"""A decoded picture as a JPEG file, turned as it is shown."""

from io import BytesIO

from PIL import Image

QUALITY = 90


def upright_jpeg(image: Image.Image, degrees: int, side: int) -> bytes:
    """The picture as a JPEG file.

    Parameters
    ----------
    image : RGB.
    degrees : counter-clockwise, that turn it upright.
    side : pixels of the longer side at most; never enlarged.
    """
    if degrees % 360:
        image = image.rotate(degrees, expand=True)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    out = BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
