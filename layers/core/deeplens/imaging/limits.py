"""How much of an image DeepLens takes on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Refused before anything is decoded; ``max_pixels`` counts one frame."""

    max_bytes: int = 100 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_frames: int = 500
