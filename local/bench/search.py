"""Measure the latency of searches over HTTP at N vectors, and compare with the bare query on the index."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
from deeplens.images.model import NewImage, StageResult, Step
from deeplens.images.payload import payload_of
from deeplens.vectors.ports import Point
from rich.progress import track

from local.bench.stack import Bench, bench_stack
from local.cli.screen import console
from local.demo.photos import bench_photos

BATCH = 500


def bench_search(count: int = 10_000, queries: int = 200) -> dict[str, float | int | str]:
    """Measure p50 and p99 of searches by id and by image and of the bare query; return flat figures and a ratio."""
    with bench_stack() as bench:
        ids = _fill(bench, count)
        rng = np.random.default_rng(4)
        query_ids = [ids[int(n)] for n in rng.integers(0, count, queries)]
        vectors = [bench.container.index.vector_of(bench.tenant, image_id) or [] for image_id in query_ids]
        bare = _times(queries, lambda n: bench.container.index.search(bench.tenant, vectors[n], limit=10))
        by_id = _times(queries, lambda n: bench.http.get(f"/images/{query_ids[n]}/similar?limit=10").raise_for_status())
        photos = [photo.body for photo in bench_photos(queries)]
        by_image = _times(
            queries,
            lambda n: bench.http.post(
                "/search/image?limit=10", files={"file": ("q.jpg", photos[n])}
            ).raise_for_status(),
        )
    return {
        "vectors": count,
        "p50_ms": _percentile(by_id, 50),
        "p99_ms": _percentile(by_id, 99),
        "bare_p50_ms": _percentile(bare, 50),
        "bare_p99_ms": _percentile(bare, 99),
        "ratio": _percentile(by_id, 50) / _percentile(bare, 50),
        "image_p50_ms": _percentile(by_image, 50),
        "image_p99_ms": _percentile(by_image, 99),
    }


def _fill(bench: Bench, count: int) -> list[str]:
    """Write rows and points of completed images, as the pipeline would; return the image ids."""
    rng, now = np.random.default_rng(3), datetime.now(UTC)
    ids = [f"img_{number:026d}" for number in range(count)]
    for start in track(range(0, count, BATCH), description="filling the index", console=console):
        batch = ids[start : start + BATCH]
        for number, image_id in enumerate(batch, start):
            uploaded = now - timedelta(seconds=number)
            path = f"nfs://tenant-bench/images/{image_id}.jpg"
            bench.container.images.insert(
                bench.tenant, NewImage(image_id, f"{number}.jpg", path, "image/jpeg", 1, "0" * 64, uploaded)
            )
        results = [StageResult(image_id, 1, Step.COMPLETED, "complete", now) for image_id in batch]
        bench.container.images.advance(bench.tenant, results)
        rows = bench.container.images.find(bench.tenant, batch)
        vectors = rng.normal(size=(len(batch), bench.tenant.model.dimensions)).astype(np.float32)
        points = [
            Point(image_id, vector.tolist(), payload_of(rows[image_id], bench.tenant))  # type: ignore[arg-type]
            for image_id, vector in zip(batch, vectors, strict=True)
        ]
        bench.container.index.upsert(bench.tenant, points)
    return ids


def _times(queries: int, work: Callable[[int], object]) -> list[float]:
    """Return the milliseconds of each query, after a warm-up of at most ten."""
    for number in range(min(10, queries)):
        work(number)
    times = []
    for number in range(queries):
        started = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - started) * 1000)
    return times


def _percentile(times: list[float], percent: int) -> float:
    return float(np.percentile(times, percent))
