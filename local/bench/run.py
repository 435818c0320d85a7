"""``deeplens bench``: run benches, print their figures and write ``.bench/NAME.json``."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.bench.cold_start import bench_cold_start
from local.bench.duplicates import bench_duplicates
from local.bench.figures import FOLDER, Figures, publish
from local.bench.inference import bench_inference
from local.bench.model import bench_model
from local.bench.neighbours import bench_neighbours
from local.bench.pipeline import bench_pipeline
from local.bench.search import bench_search
from local.bench.telemetry import bench_telemetry
from local.bench.upload import bench_upload
from local.bench.video import bench_video
from local.cli.screen import console
from local.services import ServiceFailed


@dataclass(frozen=True, slots=True)
class Bench:
    """A measurement, its arguments with ``--smoke``, and whether it only runs when named.

    The defaults of its parameters are the full size. The smoke size only shows that the bench works; its figures are
    meaningless.
    """

    measure: Callable[..., Figures]
    smoke: Mapping[str, Any]
    by_name_only: bool = True


BENCHES = {
    "pipeline": Bench(bench_pipeline, {"count": 16, "warm_up": 4}, by_name_only=False),
    "search": Bench(bench_search, {"count": 200, "queries": 10}, by_name_only=False),
    "telemetry": Bench(bench_telemetry, {"repeats": 1, "invocations": 5}, by_name_only=False),
    "cold_start": Bench(bench_cold_start, {"repeats": 1, "functions": 2}, by_name_only=False),
    "model": Bench(bench_model, {"originals": 2, "distractors": 20}),
    "duplicates": Bench(bench_duplicates, {"originals": 2}),
    "inference": Bench(bench_inference, {"seconds": 0.2, "batches": (8,), "clients": (2,), "with_clip": False}),
    "neighbours": Bench(bench_neighbours, {"flood": 60, "probes": 3}),
    "upload": Bench(bench_upload, {"count": 200, "bare": 20}),
    "video": Bench(bench_video, {"minutes": 0.1, "hours": 0.05}),
}


def run_benches(name: str, sizes: Mapping[str, Mapping[str, Any]], *, smoke: bool) -> dict[str, Figures]:
    """Run one bench or the default ones, and return their figures; with ``smoke`` all of them, each in its smoke size.

    Parameters
    ----------
    name : a bench, or ``all``.
    sizes : arguments by bench; they replace the defaults and those of the smoke size.

    Raises
    ------
    ServiceFailed
        There is no bench of that name, or one failed.
    """
    if name != "all" and name not in BENCHES:
        raise ServiceFailed(f"there is no bench {name}; choose one of {', '.join(BENCHES)} and all")
    selected = [name]
    if name == "all":
        selected = [bench_name for bench_name, bench in BENCHES.items() if smoke or not bench.by_name_only]
    started, figures = time.monotonic(), {}
    for number, bench_name in enumerate(selected, 1):
        bench_started = time.monotonic()
        arguments = {**(BENCHES[bench_name].smoke if smoke else {}), **sizes.get(bench_name, {})}
        figures[bench_name] = BENCHES[bench_name].measure(**arguments)
        publish(bench_name, figures[bench_name], figures_folder(smoke=smoke))
        seconds = time.monotonic() - bench_started
        console.print(f"{bench_name} took {seconds:.0f} s ({number} of {len(selected)})\n", highlight=False)
    console.print(f"{len(selected)} benches took {time.monotonic() - started:.0f} s", highlight=False)
    return figures


def figures_folder(*, smoke: bool) -> Path:
    """Return the folder for figures; those of smoke runs are separate from measurements."""
    return FOLDER / "smoke" if smoke else FOLDER
