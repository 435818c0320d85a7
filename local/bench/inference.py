"""Measure images per second and latency of the inference endpoint over HTTP, and compare with a bare onnxruntime loop.

The bare loop has the same session options, the same parallel calls and, for encoded images, the same decoding. It runs
before and after each cell. Clients and other programs share the cores with the server, so only the ratios are
meaningful. ``cpu_ratio`` compares CPU seconds per image, which other programs disturb least.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from deeplens.embedding.wire import encode_request
from rich.progress import Progress
from rich.table import Table

from functions.inference_endpoint.manifest import Manifest, read_manifest
from functions.inference_endpoint.model import pixels_of
from functions.inference_endpoint.server import NEWEST_MODEL
from local.bench.bare import Bare, BareLoop
from local.bench.client import Load, LoadResult, measure
from local.cli.screen import console
from local.demo.photos import bench_photos
from local.models.export import CLIP, export
from local.services import InferenceService

KINDS = ("image", "pixels")
SUMMARY_FIELDS = ("images_per_s", "bare_images_per_s", "ratio", "cpu_ratio", "p99_ms")


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement. ``ratio`` compares images per second with the bare loop, ``cpu_ratio`` CPU time per image."""

    model: str
    kind: str
    batch: int
    clients: int
    images_per_s: float
    bare_images_per_s: float
    ratio: float
    cpu_ratio: float
    p50_ms: float
    p99_ms: float
    refused: int
    server_cpu_ms_per_image: float
    client_cpu_ms_per_image: float
    bare_cpu_ms_per_image: float


def bench_inference(
    seconds: float = 3,
    batches: Sequence[int] = (1, 8, 32),
    clients: Sequence[int] = (1, 4, 16, 32),
    *,
    with_clip: bool = True,
) -> dict[str, Any]:
    """Measure every batch, number of clients and kind of input, of the built-in model and CLIP with random weights."""
    with tempfile.TemporaryDirectory() as name:
        models, folders = Path(name), [NEWEST_MODEL]
        if with_clip:
            folders.append(export(CLIP, models, precision="fp32", version="random", random_weights=True))
        with _running(models) as server, Progress(console=console) as progress:
            rows = list(product(folders, KINDS, batches))
            task = progress.add_task("inference over HTTP", total=len(rows) * len(clients))
            cells = [
                cell
                for folder, kind, batch in rows
                for cell in _row(server, folder, kind, batch, clients, seconds, lambda: progress.advance(task))
            ]
    _print(cells)
    return figures_of(cells, seconds)


def figures_of(cells: list[Cell], seconds: float) -> dict[str, Any]:
    """Return the cell with the highest throughput for each model, input and batch, as flat figures, and all cells."""
    figures: dict[str, Any] = {"cores": os.process_cpu_count() or 1, "seconds_per_cell": seconds}
    for cell in sorted(cells, key=lambda cell: cell.images_per_s):
        row = f"{cell.model}_{cell.kind}_{cell.batch}"
        figures |= {f"{row}_{name}": getattr(cell, name) for name in SUMMARY_FIELDS}
    large = [cell for cell in cells if cell.batch >= 8]
    figures["median_ratio_at_batch_8_or_more"] = float(np.median([cell.ratio for cell in large]))
    figures["median_cpu_ratio_at_batch_8_or_more"] = float(np.median([cell.cpu_ratio for cell in large]))
    return figures | {"cells": [asdict(cell) for cell in cells]}


@contextmanager
def _running(models: Path) -> Iterator[InferenceService]:
    with tempfile.TemporaryDirectory() as logs:
        server = InferenceService(0, Path(logs), models, "--queue-images", "4096")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _row(
    server: InferenceService,
    folder: Path,
    kind: str,
    batch: int,
    clients: Sequence[int],
    seconds: float,
    advance: Callable[[], None],
) -> Iterator[Cell]:
    """Measure one batch size with each number of clients."""
    manifest = read_manifest(folder)
    bodies = [photo.body for photo in bench_photos(batch)]
    loop = BareLoop(folder, manifest, bodies, decode=kind == "image")
    body, length = encode_request(bodies) if kind == "image" else pixels_request(manifest, bodies)
    path = f"/v2/models/{manifest.name}/versions/{manifest.version}/infer"
    before = loop.measure(seconds)
    for count in clients:
        with _cpu_of(server) as spent:
            result = measure(Load(server.port, path, body, length, count, seconds))
        after = loop.measure(seconds)
        yield _cell(f"{manifest.name}/{manifest.version}", kind, batch, count, result, spent[0], before, after)
        before = after
        advance()


def _cell(
    model: str, kind: str, batch: int, clients: int, result: LoadResult, server_cpu: float, before: Bare, after: Bare
) -> Cell:
    images = len(result.latencies_ms) * batch
    bare, rate, cpu_ms = Bare.between(before, after), images / result.seconds, server_cpu / images * 1000
    return Cell(
        model, kind, batch, clients, rate, bare.images_per_s, rate / bare.images_per_s, bare.cpu_ms / cpu_ms,
        float(np.percentile(result.latencies_ms, 50)), float(np.percentile(result.latencies_ms, 99)), result.refused,
        cpu_ms, result.cpu_seconds / images * 1000, bare.cpu_ms,
    )  # fmt: skip


def pixels_request(manifest: Manifest, bodies: list[bytes]) -> tuple[bytes, int]:
    """Encode a request with decoded images; return it and the length of its JSON."""
    pixels = np.stack([pixels_of(body, manifest) for body in bodies])
    parameters = {"binary_data_size": pixels.nbytes}
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape), "parameters": parameters}
    output = {"name": "embedding", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return head + pixels.tobytes(), len(head)


@contextmanager
def _cpu_of(server: InferenceService) -> Iterator[list[float]]:
    """Yield a list whose element is, after the block, the CPU seconds that the server spent during it."""
    process, spent = psutil.Process(server.pid), [0.0]
    before = sum(process.cpu_times()[:2])
    yield spent
    spent[0] = sum(process.cpu_times()[:2]) - before


def _print(cells: list[Cell]) -> None:
    for model, rows in groupby(cells, key=lambda cell: cell.model):
        titles = ("input", "batch", "clients", "images/s", "bare", "ratio", "CPU ratio", "p99 ms", "429")
        table = Table(*titles, title=model, title_justify="left")
        for cell in rows:
            table.add_row(
                cell.kind, str(cell.batch), str(cell.clients), f"{cell.images_per_s:.1f}",
                f"{cell.bare_images_per_s:.1f}", f"{cell.ratio:.2f}", f"{cell.cpu_ratio:.2f}", f"{cell.p99_ms:.1f}",
                str(cell.refused),
            )  # fmt: skip
        console.print(table)
