"""Measure extracting frames, compare with a bare decoding loop, and measure memory on a film of two hours."""

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
from deeplens.tenants.model import VideoSettings
from deeplens.videos.decoding.frames import frames_of
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import DecodeDeadline
from deeplens.videos.decoding.plan import plan_segments
from deeplens.videos.decoding.probe import poster, probe
from deeplens.videos.decoding.ranged import RangedFile

from local.cli.screen import console

SHARP = "testsrc2=size=1280x720:rate=30,noise=alls=8:allf=t"
LONG = "testsrc2=size=192x144:rate=5,noise=alls=60:allf=t"
"""Noise makes the file large, because it compresses badly."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """Cost of extracting a film's frames; ``peak_mb`` is the peak memory of the process."""

    frames: int
    segments: int
    cpu_seconds: float
    longest_segment_seconds: float
    peak_mb: float
    read_mb: float


def bench_video(minutes: float = 2, hours: float = 2) -> dict[str, float | int]:
    """Measure minutes of 720p video per CPU minute, the same for decoding alone, and the memory of a long film.

    Parameters
    ----------
    minutes : length of the 720p film.
    hours : length of the long film.
    """
    with tempfile.TemporaryDirectory(prefix="deeplens-bench-") as folder:
        sharp, long = Path(folder, "sharp~"), Path(folder, "long~")
        with console.status("generating films"):
            make(sharp, SHARP, minutes * 60)
            make(long, LONG, hours * 3600)
        with console.status("decoding and extracting frames"):
            before = in_process(decode, sharp)
            extraction = in_process(extract, sharp)
            after = in_process(decode, sharp)
            film = in_process(extract, long)
        size_mb = long.stat().st_size / 1e6
    bare = (before + after) / 2
    return {
        "minutes_per_cpu_minute": minutes * 60 / extraction.cpu_seconds,
        "bare_minutes_per_cpu_minute": minutes * 60 / bare,
        "ratio": bare / extraction.cpu_seconds,
        "frames": extraction.frames,
        "long_hours": hours,
        "long_file_mb": size_mb,
        "long_read_mb": film.read_mb,
        "long_segments": film.segments,
        "long_frames": film.frames,
        "long_cpu_s": film.cpu_seconds,
        "long_longest_segment_s": film.longest_segment_seconds,
        "long_peak_mb": film.peak_mb,
    }


def in_process[T](work: Callable[[Path], T], path: Path) -> T:
    """Run in a separate process, so that its memory and CPU are measured alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, path).result()


def extract(path: Path) -> Extraction:
    """Extract the frames of a whole film, segment by segment, as the stage does."""
    store = DirectoryStore(path.parent, "nfs://bench", "", "")
    key, limits = path.name.removesuffix("~"), VideoLimits()
    started = time.process_time()
    file = RangedFile(store, key, path.stat().st_size)
    facts = probe(file, limits)
    poster(file, facts)
    segments, count, longest, read = plan_segments(facts, VideoSettings(), limits), 0, 0.0, file.bytes_read
    for segment in segments:
        segment_started, segment_file = time.monotonic(), RangedFile(store, key, path.stat().st_size)
        count += sum(1 for _ in frames_of(segment_file, segment, DecodeDeadline()))
        longest, read = max(longest, time.monotonic() - segment_started), read + segment_file.bytes_read
    return Extraction(count, len(segments), time.process_time() - started, longest, peak_mb(), read / 1e6)


def peak_mb() -> float:
    """Return the peak memory of this process, with interpreter and libraries."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def decode(path: Path) -> float:
    """Decode every frame and do nothing else; return the CPU seconds."""
    started = time.process_time()
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass
    return time.process_time() - started


def make(path: Path, source: str, seconds: float) -> None:
    """Write a film of FFmpeg's moving test picture, H.264, with a keyframe at least every ten seconds."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = None
        for frame in source_frames(source, seconds):
            if stream is None:
                rate = round(1 / frame.time_base) if frame.time_base else 25
                stream = output.add_stream("libx264", rate=rate, width=frame.width, height=frame.height)
                stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10 * rate
                stream.codec_context.options = {"preset": "ultrafast"}
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))


def source_frames(source: str, seconds: float) -> Iterator[av.VideoFrame]:
    """Yield the frames of an FFmpeg source with one effect, e.g. ``testsrc2=size=192x144:rate=5,noise=alls=60``."""
    graph = Graph()
    name, _, effects = source.partition(",")
    kind, _, options = name.partition("=")
    nodes = [graph.add(kind, f"{options}:duration={seconds}")]
    effect, _, effect_options = effects.partition("=")
    nodes += [graph.add(effect, effect_options), graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    while True:
        try:
            yield graph.vpull()
        except (av.EOFError, av.BlockingIOError):
            return
