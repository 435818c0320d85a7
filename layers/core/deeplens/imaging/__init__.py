"""Images as bytes in, standard images out; pure functions on Pillow."""

from deeplens.imaging.limits import Limits
from deeplens.imaging.sniff import FileType, sniff
from deeplens.imaging.standardise import Standardised, inspect, standardise, thumbnail

__all__ = ["FileType", "Limits", "Standardised", "inspect", "sniff", "standardise", "thumbnail"]
