"""``deeplens bench``: runs the benches, prints a table each, writes ``.bench/NAME.json``."""

import json
from pathlib import Path

from rich.table import Table

from local.bench.cold_start import bench_cold_start
from local.bench.pipeline import bench_pipeline
from local.bench.search import bench_search
from local.screen import console
from local.services import ServiceFailed

FOLDER = Path(".bench")
type Figures = dict[str, float | int | str]


def run_benches(name: str, images: int, vectors: int) -> None:
    """Run one bench, or all. Raises ``ServiceFailed`` for an unknown name."""
    benches = {
        "pipeline": lambda: bench_pipeline(images),
        "search": lambda: bench_search(vectors),
        "cold_start": bench_cold_start,
    }
    if name != "all" and name not in benches:
        raise ServiceFailed(f"no bench {name}; there are {', '.join(benches)} and all")
    for known, bench in benches.items():
        if name in ("all", known):
            _publish(known, bench())


def _publish(name: str, figures: Figures) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(title=f"{name} → {FOLDER / name}.json", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, value in figures.items():
        table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
