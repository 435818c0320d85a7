"""Measure images per second from accepted to completed, and compare with a bare loop of the same work in one process.

The bare loop decodes, standardises, makes thumbnails, embeds and indexes without broker, store, database or HTTP.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import qdrant_edge as edge
from deeplens.imaging.limits import Limits
from deeplens.imaging.standardise import standardise
from rich.progress import Progress, track

from functions.inference_endpoint.model import EmbeddingModel
from functions.inference_endpoint.server import NEWEST_MODEL
from local.bench.stack import Bench, bench_stack
from local.cli.screen import console
from local.demo.photos import Photo, bench_photos
from local.services import ServiceFailed
from local.stack.stack import Stack

UPLOADERS, BATCH, TIMEOUT_SECONDS = 4, 32, 900


def bench_pipeline(count: int = 500, warm_up: int = 48) -> dict[str, float | int | str]:
    """Measure the throughput of both, their ratio, and the time per image and stage; return flat figures.

    Parameters
    ----------
    warm_up : number of images before the measurement, which start the functions; ``bench cold_start`` measures starts.
    """
    photos = list(track(bench_photos(count), total=count, description="generating photos", console=console))
    with bench_stack() as bench:
        _through_pipeline(bench, [Photo(f"warm-up-{n}.jpg", photos[n % count].body) for n in range(warm_up)], warm_up)
        before = cpu_seconds(bench.stack)
        upload_seconds, seconds = _through_pipeline(bench, photos, warm_up + count)
        spent = {name: value - before.get(name, 0.0) for name, value in cpu_seconds(bench.stack).items()}
        stages = _stage_seconds(bench)
    bare = _bare_loop(photos)
    untraced = _without_telemetry(photos, warm_up)
    return {
        "images": count,
        "untraced_images_per_s": count / untraced,
        "untraced_ratio": bare["total"] / untraced,
        "images_per_s": count / seconds,
        "bare_images_per_s": count / bare["total"],
        "ratio": bare["total"] / seconds,
        "upload_images_per_s": count / upload_seconds,
        **{f"{name}_ms_per_image": value * 1000 for name, value in stages.items()},
        **{f"cpu_{name}_ms_per_image": value / count * 1000 for name, value in sorted(spent.items())},
        **{f"bare_{name}_ms_per_image": value / count * 1000 for name, value in bare.items()},
    }


def _without_telemetry(photos: Sequence[Photo], warm_up: int) -> float:
    """Return the seconds that the photos take where no spans are recorded."""
    count = len(photos)
    with bench_stack(telemetry=False) as bench:
        _through_pipeline(bench, [Photo(f"warm-up-{n}.jpg", photos[n % count].body) for n in range(warm_up)], warm_up)
        return _through_pipeline(bench, photos, warm_up + count)[1]


def _through_pipeline(bench: Bench, photos: Sequence[Photo], completed: int) -> tuple[float, float]:
    """Upload the photos, and return the seconds until all are accepted and until ``completed`` images are completed."""
    started = time.monotonic()
    with ThreadPoolExecutor(UPLOADERS) as uploaders, Progress(console=console) as progress:
        task = progress.add_task("uploading", total=len(photos))
        for _ in uploaders.map(lambda photo: _upload(bench, photo), photos):
            progress.advance(task)
    uploaded = time.monotonic() - started
    _await_completed(bench, completed)
    return uploaded, time.monotonic() - started


def _upload(bench: Bench, photo: Photo) -> None:
    answer = bench.http.post("/images", files={"file": (photo.name, photo.body)})
    if answer.status_code != 202:
        raise ServiceFailed(f"an upload got the answer {answer.status_code}: {answer.text[:300]}")


def _await_completed(bench: Bench, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with Progress(console=console) as progress:
        task = progress.add_task("completed", total=count)
        while (done := _count(bench, "step = 5")) < count:
            progress.update(task, completed=done)
            if time.monotonic() > deadline or _count(bench, "step = 4"):
                raise ServiceFailed(f"{done} of {count} images completed, {_count(bench, 'step = 4')} failed")
            time.sleep(0.05)
        progress.update(task, completed=done)


def _count(bench: Bench, condition: str) -> int:
    with bench.container.connections.tenant(bench.tenant) as connection:
        row: Any = connection.execute(f"SELECT count(*) AS n FROM images WHERE {condition}").fetchone()  # noqa: S608
    return int(row["n"])


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds so far of every service and function; ``runner`` is this process, with the uploads."""
    pids = {service.name: [service.pid] for service in stack.services if service.pid}
    pids |= {name: pool.pids for name, pool in stack.runner.pools.items()} if stack.runner else {}
    return {name: sum(map(_cpu_of, group)) for name, group in (pids | {"runner": [os.getpid()]}).items()}


def _cpu_of(pid: int) -> float:
    process = psutil.Process(pid)
    tree = [process] if pid == os.getpid() else [process, *process.children(recursive=True)]
    return float(sum(sum(member.cpu_times()[:2]) for member in tree))


def _stage_seconds(bench: Bench) -> dict[str, float]:
    """Return the mean seconds that each stage reports per image."""
    statement = (
        "SELECT stage, avg(duration_seconds) AS mean FROM image_events WHERE duration_seconds IS NOT NULL GROUP BY 1"
    )
    with bench.container.connections.tenant(bench.tenant) as connection:
        return {row["stage"]: float(row["mean"]) for row in connection.execute(statement)}


def _bare_loop(photos: Sequence[Photo]) -> dict[str, float]:
    """Do the work in batches with a thread per core; return the seconds of each step."""
    spent = {"standardise": 0.0, "embed": 0.0, "index": 0.0, "total": 0.0}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as workers:
        model = EmbeddingModel(NEWEST_MODEL, workers)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=model.manifest.dimensions, distance=edge.Distance.Cosine)
        )
        shard = edge.EdgeShard.create(str(Path(folder) / "shard"), config)
        for start in track(range(0, len(photos), BATCH), description="bare loop", console=console):
            times = [time.monotonic()]
            bodies = [photo.body for photo in photos[start : start + BATCH]]
            images = list(workers.map(lambda body: standardise(body, Limits()), bodies))
            times.append(time.monotonic())
            vectors = model.embed_images([image.jpeg for image in images])
            times.append(time.monotonic())
            points = [edge.Point(id=start + n, vector=v.tolist(), payload={}) for n, v in enumerate(vectors)]
            shard.update(edge.UpdateOperation.upsert_points(points))
            times.append(time.monotonic())
            for name, seconds in zip(("standardise", "embed", "index"), np.diff(times), strict=True):
                spent[name] += float(seconds)
            spent["total"] += times[-1] - times[0]
        shard.close()
        model.close()
    return spent
