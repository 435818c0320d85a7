"""Frames as they are shown: square pixels, upright."""

from av import VideoFrame
from av.video.stream import VideoStream

from deeplens.imaging.standardise import upright_jpeg

FRAME_SIDE = 1920
"""Pixels of a frame's longer side; more would only be stored, as models see 512."""


def shown(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """Width and height as shown."""
    width, height = _square(stream, frame)
    return (height, width) if frame.rotation % 180 else (width, height)


def jpeg_of(stream: VideoStream, frame: VideoFrame, side: int = FRAME_SIDE) -> bytes:
    """A JPEG file whose longer side has ``side`` pixels at most."""
    width, height = _square(stream, frame)
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = frame.to_image(width=size[0], height=size[1])  # type: ignore[no-untyped-call]
    return upright_jpeg(image, frame.rotation, side)


def _square(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """Sides with square pixels; broadcast and DVD material has others. Implausible ratios are not believed."""
    ratio = float(stream.sample_aspect_ratio or 1) or 1.0
    if not 0.2 < ratio < 5:
        ratio = 1.0
    return max(1, round(frame.width * ratio)), frame.height
