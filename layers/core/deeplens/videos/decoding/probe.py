"""What a video is, and one picture that stands for it."""

from av.video.stream import VideoStream

from deeplens.formats.errors import NoPictures, VideoCorrupt, VideoTooLarge, VideoTooLong
from deeplens.formats.videos import HEAD_BYTES, VideoType, sniff_video
from deeplens.videos.decoding.containers import check_container
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import (
    DecodeDeadline,
    codec_of,
    duration_of,
    frames_from,
    jpeg_of,
    open_video,
    shown_size,
)
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.model import VideoFacts

POSTER_AT = (0.1, 0.35, 0.6)
"""Parts of the duration; titles and fades are often in front of the first."""
POSTER_SIDE = 1280


def type_of(file: RangedFile) -> VideoType:
    return sniff_video(file.peek(0, HEAD_BYTES))


def probe(file: RangedFile, limits: VideoLimits) -> VideoFacts:
    """Look into a video as far as its first frame.

    Raises
    ------
    InvalidVideo
        One of its kinds; each says what is wrong with the file.
    """
    kind = type_of(file)
    if file.size_bytes > limits.max_bytes:
        raise VideoTooLarge(f"{file.size_bytes} bytes; at most {limits.max_bytes} are accepted")
    check_container(file, kind)
    with open_video(file, kind, limits) as (container, stream):
        codec = codec_of(stream, limits.codecs)
        _check_pixels(stream, limits)
        duration = duration_of(container, stream, limits.max_seconds, DecodeDeadline(600, 600))
    if duration > limits.max_seconds:
        raise VideoTooLong(f"{duration:.0f} s; at most {limits.max_seconds:.0f} s are accepted")
    with open_video(file, kind, limits) as (container, stream):
        first = next(frames_from(container, stream, 0, DecodeDeadline(60, 120)), None)
        if first is None:
            raise (VideoCorrupt if duration else NoPictures)("the file has no frame that can be decoded")
        width, height = shown_size(stream, first[1])
        fps = float(stream.average_rate or 0)
    return VideoFacts(max(duration, 0.001), width, height, fps, codec, kind.container)


def _check_pixels(stream: VideoStream, limits: VideoLimits) -> None:
    context = stream.codec_context
    if context.width * context.height > limits.max_pixels:
        detail = f"{context.width} × {context.height} pixels; at most {limits.max_pixels} are accepted"
        raise VideoTooLarge(detail)


def poster(file: RangedFile, facts: VideoFacts) -> bytes:
    """A JPEG file of the most detailed among a few frames. Raises ``InvalidVideo``."""
    found = [jpeg for part in POSTER_AT if (jpeg := _jpeg_at(file, part * facts.duration_seconds))]
    if not found and (first := _jpeg_at(file, 0)):
        found = [first]
    if not found:
        raise VideoCorrupt("the file has no frame that can be decoded")
    # Detail takes bytes.
    return max(found, key=len)


def _jpeg_at(file: RangedFile, seconds: float) -> bytes | None:
    with open_video(file, type_of(file)) as (container, stream):
        first = next(frames_from(container, stream, seconds, DecodeDeadline(60, 120)), None)
        return jpeg_of(stream, first[1], POSTER_SIDE) if first else None
