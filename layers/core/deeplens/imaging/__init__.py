"""Images as bytes in, standard images out; pure functions on Pillow."""

from deeplens.imaging.kinds import HEAD_BYTES, Kind, kind_of
from deeplens.imaging.limits import Limits
from deeplens.imaging.region import WHOLE, Box, box_of
from deeplens.imaging.sniff import FileType, sniff
from deeplens.imaging.standardise import Standardised, inspect, standard_jpeg, standardise, thumbnail

__all__ = [
    "HEAD_BYTES",
    "WHOLE",
    "Box",
    "FileType",
    "Kind",
    "Limits",
    "Standardised",
    "box_of",
    "inspect",
    "kind_of",
    "sniff",
    "standard_jpeg",
    "standardise",
    "thumbnail",
]
