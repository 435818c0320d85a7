"""Limits of images."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that are checked before decoding.

    Attributes
    ----------
    max_pixels : per frame.
    max_memory_bytes : that decoding may take; a function of 1,769 MB has room for it beside a batch of files.
    """

    max_bytes: int = 100 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_frames: int = 500
    max_memory_bytes: int = 900 * 1024 * 1024
