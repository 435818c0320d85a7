"""Limits of images."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that are checked before decoding; ``max_pixels`` is per frame."""

    max_bytes: int = 100 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_frames: int = 500
