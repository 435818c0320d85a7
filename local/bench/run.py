"""``deeplens bench``: runs the benches, prints a table each, writes ``.bench/NAME.json``."""

from collections.abc import Callable

from local.bench.cold_start import bench_cold_start
from local.bench.duplicates import bench_duplicates
from local.bench.figures import Figures, publish
from local.bench.inference import bench_inference
from local.bench.model import bench_model
from local.bench.neighbours import bench_neighbours
from local.bench.pipeline import bench_pipeline
from local.bench.search import bench_search
from local.bench.upload import bench_upload
from local.bench.video import bench_video
from local.services import ServiceFailed

APART = {"model", "duplicates", "inference", "neighbours", "upload", "video"}
"""Benches that run by name only; they take minutes."""


def run_benches(name: str, images: int, vectors: int, seconds: float, flood: int, files: int) -> None:
    """Run one bench, or all. Raises ``ServiceFailed`` for an unknown name."""
    benches: dict[str, Callable[[], Figures]] = {
        "pipeline": lambda: bench_pipeline(images),
        "search": lambda: bench_search(vectors),
        "cold_start": bench_cold_start,
        "model": bench_model,
        "duplicates": bench_duplicates,
        "inference": lambda: bench_inference(seconds),
        "neighbours": lambda: bench_neighbours(flood),
        "upload": lambda: bench_upload(files),
        "video": bench_video,
    }
    if name != "all" and name not in benches:
        raise ServiceFailed(f"no bench {name}; there are {', '.join(benches)} and all")
    for known, bench in benches.items():
        if name == known or (name == "all" and known not in APART):
            publish(known, bench())
