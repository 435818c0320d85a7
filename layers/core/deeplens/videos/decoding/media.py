"""Opening and decoding with FFmpeg: one demuxer, the accepted codecs, no other files, errors as ``InvalidVideo``.

Frames are given as they are shown: square pixels, upright.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from deeplens.errors import DeepLensError
from deeplens.formats.errors import NoPictures, VideoCodecUnsupported, VideoCorrupt, VideoEncrypted, VideoTooSlow
from deeplens.formats.videos import VideoType
from deeplens.imaging.standardise import upright_jpeg
from deeplens.videos.decoding.limits import DECODERS, VideoLimits
from deeplens.videos.decoding.ranged import RangedFile

av.logging.set_level(None)
BUFFER_BYTES = 256 * 1024
FRAME_SIDE = 1920
"""Pixels of a frame's longer side; more would only be stored, as models see 512."""
LIMITS = VideoLimits()
SEEK_BACK_SECONDS = (0.0, 15.0, 60.0, math.inf)
"""How far before the wanted offset to seek, tried one after the other."""


class DecodeDeadline:
    """How long decoding may take.

    Parameters
    ----------
    hurry_seconds : time after which only keyframes are decoded.
    seconds : time after which decoding fails.
    """

    def __init__(self, hurry_seconds: float = 420, seconds: float = 660) -> None:
        started = time.monotonic()
        self._hurry, self._end = started + hurry_seconds, started + seconds

    @property
    def hurried(self) -> bool:
        """Whether only keyframes are to be decoded. Raises ``VideoTooSlow`` after the deadline."""
        now = time.monotonic()
        if now > self._end:
            raise VideoTooSlow("decoding takes too long")
        return now > self._hurry


@contextmanager
def open_video(
    file: RangedFile, kind: VideoType, limits: VideoLimits = LIMITS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A container and its video stream, of a codec that is accepted; nothing was decoded by another one.

    Raises
    ------
    InvalidVideo
        ``VideoCorrupt`` for a file that FFmpeg cannot read, ``VideoCodecUnsupported``, ``VideoEncrypted``,
        ``NoPictures``.
    """
    allowed = {"codec_whitelist": DECODERS, "format_whitelist": kind.demuxer, "protocol_whitelist": "none"}
    try:
        file.seek(0)
        with av.open(
            file,
            "r",
            format=kind.demuxer,
            io_open=_no_other_file,
            buffer_size=BUFFER_BYTES,
            options={**allowed, "max_pixels": str(limits.max_pixels)},
        ) as container:
            stream = _video_stream(container)
            codec_of(stream, limits.codecs)
            # A stream may change its codec's parameters in the middle.
            stream.codec_context.options = {"codec_whitelist": DECODERS, "max_pixels": str(limits.max_pixels)}
            yield container, stream
    except DeepLensError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        if file.failure:
            # The store's own error, which the decoder may have hidden.
            raise file.failure from error
        raise VideoCorrupt(f"the {kind.container} file cannot be read") from error


def _no_other_file(*_: Any) -> Any:
    raise VideoCorrupt("the file refers to other files, which are never open_video")


def _video_stream(container: InputContainer) -> VideoStream:
    """The first video stream that is not the cover of an audio file."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    raise NoPictures("the file has no video stream")


def codec_of(stream: VideoStream, accepted: frozenset[str]) -> str:
    """The codec's name. Raises ``VideoEncrypted``, and ``VideoCodecUnsupported`` for one that is not accepted."""
    context = stream.codec_context
    if "enc_key_id" in stream.metadata:
        raise VideoEncrypted("the video is encrypted (DRM); upload it without protection")
    if context is None or context.name is None:
        raise VideoCodecUnsupported("the video's codec is unknown")
    codec = context.codec.canonical_name
    if codec not in accepted:
        names = ", ".join(sorted(accepted))
        raise VideoCodecUnsupported(f"videos in {codec} are not accepted; accepted are {names}")
    return codec


def frames_from(
    container: InputContainer, stream: VideoStream, begin: float, deadline: DecodeDeadline
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames with their offsets in seconds from the video's first, from ``begin`` on; broken packets are skipped.

    Raises
    ------
    VideoTooSlow
    """
    stream.codec_context.thread_type = "AUTO"
    for back in SEEK_BACK_SECONDS:
        start = max(0.0, begin - back)
        frames = _frames_at(container, stream, start, deadline)
        first = next(frames, None)
        # Some containers have no index, and a seek in them may end behind the keyframe that it should find.
        if start == 0 or (first and first[0] <= begin):
            break
    if first and first[0] >= begin:
        yield first
    yield from (found for found in frames if found[0] >= begin)


def _frames_at(
    container: InputContainer, stream: VideoStream, start: float, deadline: DecodeDeadline
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames from a keyframe at or before ``start`` on."""
    time_base = stream.time_base or Fraction(1, 1000)
    origin = float((stream.start_time or 0) * time_base)
    if start > 0:
        container.seek(int((start + origin) / time_base), stream=stream, backward=True, any_frame=False)
    else:
        container.seek(0)
    for frame in _decode(container, stream, deadline):
        at = frame.pts if frame.pts is not None else frame.dts
        if at is not None:
            yield max(0.0, round(float(at * time_base) - origin, 6)), frame


def _decode(container: InputContainer, stream: VideoStream, deadline: DecodeDeadline) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        if deadline.hurried:
            stream.codec_context.skip_frame = "NONKEY"
        try:
            packet = next(packets)
        except (StopIteration, av.EOFError):
            return
        except av.InvalidDataError:
            # The demuxer cannot go on: what came before counts.
            return
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def duration_of(container: InputContainer, stream: VideoStream, max_seconds: float, deadline: DecodeDeadline) -> float:
    """Seconds of the stream by its header, or else by its packets, reading ``max_seconds`` of them at most."""
    time_base = stream.time_base or Fraction(1, 1000)
    if stream.duration and stream.duration > 0:
        return float(stream.duration * time_base)
    if container.duration and container.duration > 0:
        return container.duration / av.time_base
    first, last, count = None, 0.0, 0
    for packet in container.demux(stream):
        if packet.pts is None or deadline.hurried:
            continue
        count += 1
        at = float(packet.pts * time_base)
        first, last = at if first is None else first, max(last, at + float((packet.duration or 0) * time_base))
        if last - first > max_seconds:
            break
    return last - (first or 0.0) if count else 0.0


def shown_size(stream: VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height as shown."""
    width, height = _square(stream, frame)
    return (height, width) if frame.rotation % 180 else (width, height)


def jpeg_of(stream: VideoStream, frame: av.VideoFrame, side: int = FRAME_SIDE) -> bytes:
    """A JPEG file whose longer side has ``side`` pixels at most."""
    width, height = _square(stream, frame)
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = frame.to_image(width=size[0], height=size[1])  # type: ignore[no-untyped-call]
    return upright_jpeg(image, frame.rotation, side)


def _square(stream: VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Sides with square pixels; broadcast and DVD material has others. Implausible ratios are not believed."""
    ratio = float(stream.sample_aspect_ratio or 1) or 1.0
    if not 0.2 < ratio < 5:
        ratio = 1.0
    return max(1, round(frame.width * ratio)), frame.height
