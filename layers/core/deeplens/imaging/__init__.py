"""Decode, standardise and hash images with Pillow; pure functions on bytes."""

from deeplens.imaging.limits import Limits
from deeplens.imaging.perceptual_hash import perceptual_hash, perceptual_hash_of
from deeplens.imaging.region import WHOLE, Box, box_of
from deeplens.imaging.standardise import Standardised, inspect, standard_jpeg, standardise, thumbnail

__all__ = [
    "WHOLE",
    "Box",
    "Limits",
    "Standardised",
    "box_of",
    "inspect",
    "perceptual_hash",
    "perceptual_hash_of",
    "standard_jpeg",
    "standardise",
    "thumbnail",
]
