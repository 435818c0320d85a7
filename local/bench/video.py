"""Frames out of videos beside a bare decoding loop, and a film of two hours in segments, with what memory it takes."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
from av.filter import Graph
from deeplens.storage.directory import DirectoryStore
from deeplens.tenants.policies import VideoSettings
from deeplens.videos.decoding.frames import frames_of
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import DecodeDeadline
from deeplens.videos.decoding.plan import plan_segments
from deeplens.videos.decoding.probe import poster, probe
from deeplens.videos.decoding.ranged import RangedFile

from local.cli.screen import console

SHARP = "testsrc2=size=1280x720:rate=30,noise=alls=8:allf=t"
LONG = "testsrc2=size=192x144:rate=5,noise=alls=60:allf=t"
"""Noise, which makes the file large and hard to compress."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the frames of a film took; ``peak_mb`` is all that its process ever held."""

    frames: int
    segments: int
    cpu_seconds: float
    longest_segment_seconds: float
    peak_mb: float
    read_mb: float


def bench_video(minutes: float = 2, hours: float = 2) -> dict[str, float | int]:
    """Minutes of 720p per minute of CPU, the same of decoding alone, and a long film.

    Parameters
    ----------
    minutes, hours : of the sharp film, and of the long one.
    """
    with tempfile.TemporaryDirectory(prefix="deeplens-bench-") as folder:
        sharp, long = Path(folder, "sharp~"), Path(folder, "long~")
        with console.status("making films"):
            make(sharp, SHARP, minutes * 60)
            make(long, LONG, hours * 3600)
        with console.status("decoding and taking frames"):
            before, taken, after = apart(decoded, sharp), apart(take, sharp), apart(decoded, sharp)
            film = apart(take, long)
        size_mb = long.stat().st_size / 1e6
    bare = (before + after) / 2
    return {
        "minutes_per_cpu_minute": minutes * 60 / taken.cpu_seconds,
        "bare_minutes_per_cpu_minute": minutes * 60 / bare,
        "ratio": bare / taken.cpu_seconds,
        "frames": taken.frames,
        "long_hours": hours,
        "long_file_mb": size_mb,
        "long_read_mb": film.read_mb,
        "long_segments": film.segments,
        "long_frames": film.frames,
        "long_cpu_s": film.cpu_seconds,
        "long_longest_segment_s": film.longest_segment_seconds,
        "long_peak_mb": film.peak_mb,
    }


def apart[T](work: Callable[[Path], T], path: Path) -> T:
    """Run in a separate process, so that its memory and CPU are measured alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, path).result()


def take(path: Path) -> Taken:
    """The frames of a whole film, segment by segment, as the stage takes them."""
    store = DirectoryStore(path.parent, "nfs://bench", "", "")
    key, limits = path.name.removesuffix("~"), VideoLimits()
    started = time.process_time()
    file = RangedFile(store, key, path.stat().st_size)
    facts = probe(file, limits)
    poster(file, facts)
    segments, count, longest, read = plan_segments(facts, VideoSettings(), limits), 0, 0.0, file.bytes_read
    for segment in segments:
        begun, own = time.monotonic(), RangedFile(store, key, path.stat().st_size)
        count += sum(1 for _ in frames_of(own, segment, DecodeDeadline()))
        longest, read = max(longest, time.monotonic() - begun), read + own.bytes_read
    return Taken(count, len(segments), time.process_time() - started, longest, peak_mb(), read / 1e6)


def peak_mb() -> float:
    """Most memory that this process ever held, interpreter and libraries included."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def decoded(path: Path) -> float:
    """CPU seconds of decoding every frame and nothing else."""
    started = time.process_time()
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass
    return time.process_time() - started


def make(path: Path, source: str, seconds: float) -> None:
    """A film of FFmpeg's moving test picture, H.264, with a keyframe at least every ten seconds."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = None
        for frame in shown(source, seconds):
            if stream is None:
                rate = round(1 / frame.time_base) if frame.time_base else 25
                stream = output.add_stream("libx264", rate=rate, width=frame.width, height=frame.height)
                stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10 * rate
                stream.codec_context.options = {"preset": "ultrafast"}
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))


def shown(source: str, seconds: float) -> Iterator[av.VideoFrame]:
    graph = Graph()
    name, _, effects = source.partition(",")
    kind, _, options = name.partition("=")
    nodes = [graph.add(kind, f"{options}:duration={seconds}")]
    effect, _, how = effects.partition("=")
    nodes += [graph.add(effect, how), graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    while True:
        try:
            yield graph.vpull()
        except (av.EOFError, av.BlockingIOError):
            return
