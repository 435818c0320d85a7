"""``deeplens bench``: runs the benches, prints a table each, writes ``.bench/NAME.json``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from local.bench.cold_start import bench_cold_start
from local.bench.inference import bench_inference
from local.bench.model import bench_model
from local.bench.neighbours import bench_neighbours
from local.bench.pipeline import bench_pipeline
from local.bench.search import bench_search
from local.bench.video import bench_video
from local.screen import console
from local.services import ServiceFailed

FOLDER = Path(".bench")
APART = {"model", "inference", "neighbours", "video"}
"""Benches that run by name only; they take minutes."""
type Figures = dict[str, Any]


def run_benches(name: str, images: int, vectors: int, seconds: float, flood: int) -> None:
    """Run one bench, or all. Raises ``ServiceFailed`` for an unknown name."""
    benches: dict[str, Callable[[], Figures]] = {
        "pipeline": lambda: bench_pipeline(images),
        "search": lambda: bench_search(vectors),
        "cold_start": bench_cold_start,
        "model": bench_model,
        "inference": lambda: bench_inference(seconds),
        "neighbours": lambda: bench_neighbours(flood),
        "video": bench_video,
    }
    if name != "all" and name not in benches:
        raise ServiceFailed(f"no bench {name}; there are {', '.join(benches)} and all")
    for known, bench in benches.items():
        if name == known or (name == "all" and known not in APART):
            _publish(known, bench())


def _publish(name: str, figures: Figures) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(title=f"{name} → {FOLDER / name}.json", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, value in figures.items():
        if isinstance(value, list):
            continue
        table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
