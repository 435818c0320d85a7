"""Measure uploads, searches and processing time of one tenant, without and with the backlog of another tenant.

This process accepts the other tenant's images with the code of the API, so that no HTTP client disturbs the
measurement.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
from deeplens.common.ids import new_id
from deeplens.formats.images import JPEG
from deeplens.http.dependencies import Publish
from deeplens.tenants.limits import UNLIMITED
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import AcceptUpload, Upload
from rich.progress import Progress

from local.bench.stack import Bench, bench_stack
from local.cli.screen import console
from local.demo.photos import Photo, bench_photos

PHOTOS, WARM_UP_PROBES, PAUSE_SECONDS, ACCEPTORS = 200, 5, 0.3, 2
KINDS = ("upload", "search", "searchable")


@dataclass
class Probes:
    """Durations in milliseconds by kind of request."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def figures(self, phase: str) -> dict[str, float]:
        return {
            f"{phase}_{kind}_p{percent}_ms": float(np.percentile(values, percent))
            for kind, values in self.ms.items()
            for percent in (50, 95)
        }


def bench_neighbours(flood: int = 20_000, probes: int = 60) -> dict[str, float | int]:
    """Measure the tenant in both phases; return flat figures and their ratios."""
    photos = list(bench_photos(PHOTOS))
    with bench_stack() as bench:
        probe(bench, photos, min(WARM_UP_PROBES, probes))
        quiet = probe(bench, photos, probes)
        with flooded(bench, photos, flood) as backlog:
            before, started = backlog(), time.monotonic()
            during_flood = probe(bench, photos, probes)
            after, seconds = backlog(), time.monotonic() - started
    figures = quiet.figures("quiet") | during_flood.figures("flooded")
    ratios = {
        f"{kind}_p95_ratio": figures[f"flooded_{kind}_p95_ms"] / figures[f"quiet_{kind}_p95_ms"] for kind in KINDS
    }
    return {
        "flood": flood,
        "backlog_at_start": before,
        "backlog_at_end": after,
        "flood_images_per_s": (before - after) / seconds,
        **figures,
        **ratios,
    }


def probe(bench: Bench, photos: list[Photo], count: int) -> Probes:
    """Upload, wait until searchable and search, one image after the other."""
    result = Probes()
    with Progress(console=console, transient=True) as progress:
        for number in progress.track(range(count), description="probing"):
            photo = photos[number % len(photos)]
            started = time.perf_counter()
            image_id = _ok(bench.http.post("/images", files={"file": (photo.name, photo.body)})).json()["imageId"]
            accepted = time.perf_counter()
            while _ok(bench.http.get(f"/images/{image_id}")).json()["status"] != "completed":
                time.sleep(0.02)
            searchable = time.perf_counter()
            _ok(bench.http.post("/search/image", files={"file": (photo.name, photo.body)}))
            searched = time.perf_counter()
            for kind, span in zip(
                KINDS, (accepted - started, searched - searchable, searchable - accepted), strict=True
            ):
                result.ms[kind].append(span * 1000)
            time.sleep(PAUSE_SECONDS)
    return result


@contextmanager
def flooded(bench: Bench, photos: list[Photo], count: int) -> Iterator[Any]:
    """Accept ``count`` images of another tenant; yield a function that counts the unfinished ones."""
    flood = bench.container.provisioning.provision("tenant_flood", "Flood", "nfs")
    accept, publish = bench.container.build(AcceptUpload), Publish(bench.container.publisher)
    numbers, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            publish(accept(flood, _upload(photos[number % len(photos)], number), UNLIMITED).events)
            progress.advance(task)

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"queueing {count} images of another tenant", total=count)
        with ThreadPoolExecutor(ACCEPTORS) as acceptors:
            for done in [acceptors.submit(work) for _ in range(ACCEPTORS)]:
                done.result()
    yield lambda: _pending(bench, flood)


def _upload(photo: Photo, number: int) -> Upload:
    body = photo.body + number.to_bytes(4, "big")  # trailing bytes make a different file of the same picture
    digest = hashlib.sha256(body).hexdigest()
    image_id = new_id("img", datetime.now(UTC))
    return Upload(image_id, False, body, digest, f"{number}.jpg", JPEG, {"width": 0, "height": 0, "format": "JPEG"})


def _pending(bench: Bench, tenant: Tenant) -> int:
    with bench.container.connections.platform() as connection:
        statement = "SELECT count(*) AS n FROM pending_images WHERE tenant_id = %s"
        row: Any = connection.execute(statement, [tenant.id]).fetchone()
    return int(row["n"])


def _ok(answer: httpx.Response) -> httpx.Response:
    answer.raise_for_status()
    return answer
