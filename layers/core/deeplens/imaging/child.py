"""What runs in the decoder's process. All is imported at its start: it can open no file afterwards."""

from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif import register_heif_opener

from deeplens.imaging.perceptual_hash import perceptual_hash_of
from deeplens.imaging.standardise import inspect, standard_jpeg, standardise, thumbnail

__all__ = ["inspect", "perceptual_hash_of", "standard_jpeg", "standardise", "thumbnail"]
register_heif_opener()
