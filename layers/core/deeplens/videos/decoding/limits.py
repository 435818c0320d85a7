"""Limits of the videos that DeepLens accepts."""

from dataclasses import dataclass

CODECS = frozenset(
    ("av1", "dnxhd", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vp8", "vp9")
)
"""FFmpeg's names of the accepted codecs. It decodes more, but unused decoders only widen the attack surface."""
DECODERS = ",".join(sorted((*CODECS, "libdav1d")))
"""FFmpeg's decoders of these codecs, in software; it looks for them by these names before it decodes anything."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Limits that are checked before more than the first frame is decoded.

    Attributes
    ----------
    max_pixels : of one frame.
    segment_seconds : of work that one event is about, at most; shorter for large pictures.
    """

    max_bytes: int = 10 * 1024**3
    max_seconds: float = 4 * 3600
    max_pixels: int = 8192 * 4320
    segment_seconds: float = 300
    codecs: frozenset[str] = CODECS
