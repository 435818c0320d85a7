"""Films made by code: scenes of known colours, in any codec and container, whole or broken."""

import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any

import av
from deeplens.videos.decoding.ranged import RangedFile
from PIL import Image

from tests.fakes.storage import MemoryStore

type Colour = tuple[int, int, int]
RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 180, 40), (40, 40, 210), (240, 240, 240)
KINDS = [
    ("libx264", "mp4"),
    ("libx264", "mov"),
    ("libx264", "matroska"),
    ("libx264", "mpegts"),
    ("libx265", "mp4"),
    ("mpeg4", "avi"),
    ("libvpx-vp9", "webm"),
    ("libvpx", "webm"),
]
"""Encoder and container."""


def apart[**P](make: Callable[P, bytes]) -> Callable[P, bytes]:
    """In a thread of its own: PyAV keeps a scaler per thread, whose own threads a forked child waits for in vain."""

    @wraps(make)
    def made(*given: P.args, **named: P.kwargs) -> bytes:
        with ThreadPoolExecutor(1) as other:
            return other.submit(make, *given, **named).result()

    return made


@apart
def film(
    scenes: Sequence[Colour] = (RED, GREEN, BLUE),
    seconds: float = 2,
    *,
    codec: str = "libx264",
    container: str = "mp4",
    size: tuple[int, int] = (160, 120),
    fps: int = 10,
    rotation: int = 0,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    noise: bool = False,
) -> bytes:
    """A film that shows each colour for so many seconds.

    Parameters
    ----------
    times : of the frames in seconds, of a variable rate; the scenes share them.
    options : of the muxer.
    noise : whether it cannot be compressed much.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film")
        with av.open(str(path), "w", format=container, options=options or {}) as output:
            stream = output.add_stream(codec, rate=fps, width=size[0], height=size[1], pix_fmt="yuv420p")
            if rotation:
                stream.set_display_rotation(rotation)
            if times:
                stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            for frame in _frames(scenes, seconds, size, fps, times, noise):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path.read_bytes()


def _frames(
    scenes: Sequence[Colour],
    seconds: float,
    size: tuple[int, int],
    fps: int,
    times: Sequence[float] | None,
    noise: bool,
) -> Any:
    count = len(times) if times else round(len(scenes) * seconds * fps)
    for number in range(count):
        frame = _plain(scenes[number * len(scenes) // count], size, noise)
        frame.time_base = Fraction(1, 1000) if times else Fraction(1, fps)
        frame.pts = round(times[number] * 1000) if times else number
        yield frame


def _plain(colour: Colour, size: tuple[int, int], noise: bool) -> av.VideoFrame:
    """The top half in the colour, the lower half darker, so that one sees which way is up."""
    frame = av.VideoFrame(size[0], size[1], "rgb24")
    plane = frame.planes[0]
    padding = bytes(plane.line_size - 3 * size[0])
    top, bottom = bytes(colour) * size[0] + padding, bytes(value // 4 for value in colour) * size[0] + padding
    pixels = top * (size[1] // 2) + bottom * (size[1] - size[1] // 2)
    if noise:
        pixels = bytes(a ^ (b & 63) for a, b in zip(pixels, random.randbytes(len(pixels)), strict=True))
    plane.update(pixels)
    return frame.reformat(format="yuv420p")


def sound(seconds: float = 1) -> bytes:
    """A file with an audio stream only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound")
        with av.open(str(path), "w", format="mp4") as output:
            stream = output.add_stream("aac", rate=8000, layout="mono")
            for number in range(round(seconds * 8000 / 1024)):
                frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                frame.planes[0].update(bytes(4096))
                frame.rate, frame.pts, frame.time_base = 8000, number * 1024, Fraction(1, 8000)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path.read_bytes()


def encrypted(**changes: Any) -> bytes:
    """A film under common encryption, as DRM uses it."""
    scheme = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": 16 * "00", "encryption_kid": 16 * "11"}
    return film(options=scheme, **changes)


def long_claimed(seconds: int) -> bytes:
    """A short film that claims, as a whole and sample by sample, to last so long."""
    body = bytearray(film(seconds=1))
    header, samples = body.index(b"mdhd") + 16, body.index(b"stts") + 12
    units = seconds * int.from_bytes(body[header : header + 4])
    body[header + 4 : header + 8] = units.to_bytes(4)
    count = int.from_bytes(body[samples : samples + 4])
    body[samples + 4 : samples + 8] = (units // count).to_bytes(4)
    # Without the edit list, which knows better.
    return bytes(body).replace(b"elst", b"free")


def in_store(body: bytes, chunk_bytes: int = 1 << 16) -> RangedFile:
    """The film as an object that is read in ranges."""
    store = MemoryStore("s3://tenant-acme")
    store.put("videos/film", body, "video/mp4")
    return RangedFile(store, "videos/film", len(body), chunk_bytes)


@apart
def film_of(
    views: Sequence[Image.Image], seconds: float, *, codec: str = "libx264", container: str = "mp4", fps: int = 10
) -> bytes:
    """A film that shows each picture for so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film")
        with av.open(str(path), "w", format=container) as output:
            stream = output.add_stream(codec, rate=fps, width=views[0].width, height=views[0].height)
            stream.pix_fmt, stream.codec_context.bit_rate = "yuv420p", 2_000_000
            for number in range(round(len(views) * seconds * fps)):
                frame = av.VideoFrame.from_image(views[int(number / fps / seconds)]).reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path.read_bytes()
