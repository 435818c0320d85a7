"""Search latency over HTTP at N vectors, beside the bare query on the index."""

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
    """Flat figures: p50 and p99 of a search by id and by image, of the bare query, and their ratio."""
    with bench_stack() as bench:
        ids = _fill(bench, count)
        rng = np.random.default_rng(4)
        chosen = [ids[int(n)] for n in rng.integers(0, count, queries)]
        vectors = [bench.container.index.vector_of(bench.tenant, image_id) or [] for image_id in chosen]
        bare = _times(queries, lambda n: bench.container.index.search(bench.tenant, vectors[n], limit=10))
        by_id = _times(queries, lambda n: bench.http.get(f"/images/{chosen[n]}/similar?limit=10").raise_for_status())
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
    """Rows and points as the pipeline would have left them; returns the image ids."""
    rng, now = np.random.default_rng(3), datetime.now(UTC)
    ids = [f"img_{number:026d}" for number in range(count)]
    for start in track(range(0, count, BATCH), description="filling the index", console=console):
        some = ids[start : start + BATCH]
        for number, image_id in enumerate(some, start):
            uploaded = now - timedelta(seconds=number)
            path = f"nfs://tenant-bench/images/{image_id}.jpg"
            bench.container.images.insert(
                bench.tenant, NewImage(image_id, f"{number}.jpg", path, "image/jpeg", 1, "0" * 64, uploaded)
            )
        done = [StageResult(image_id, 1, Step.COMPLETED, "complete", now) for image_id in some]
        bench.container.images.advance(bench.tenant, done)
        found = bench.container.images.find(bench.tenant, some)
        vectors = rng.normal(size=(len(some), bench.tenant.model.dimensions)).astype(np.float32)
        points = [
            Point(image_id, vector.tolist(), payload_of(found[image_id], bench.tenant))  # type: ignore[arg-type]
            for image_id, vector in zip(some, vectors, strict=True)
        ]
        bench.container.index.upsert(bench.tenant, points)
    return ids


def _times(queries: int, work: Callable[[int], object]) -> list[float]:
    """Milliseconds of each of the queries, after ten, at most, to warm up."""
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
