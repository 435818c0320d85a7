"""``deeplens demo``: upload photos and copies of them over HTTP, and search with the copies."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.cli.screen import console
from local.demo.contact_sheet import Hit, Row, write_contact_sheet
from local.demo.photos import Photo, folder_photos, scikit_image_photos
from local.demo.variants import VARIANTS, variants_of
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import container_for

TENANT, TENANT_NAME = "tenant_demo", "Demo"
MAX_PHOTOS_WITH_COPIES = 30
"""Copies are made of this number of photos only, even if a folder has more."""
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class DemoImage:
    """A file of the demo. ``photo`` names its original; ``variant`` names the change, or is ``original``."""

    photo: str
    variant: str
    body: bytes


@dataclass(slots=True)
class Outcome:
    """Results of the demo."""

    failed: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return not self.failed and not self.missed


class Client:
    """Call the API as a developer would."""

    def __init__(self, api: str, key: str) -> None:
        self.base = f"{api}/v1"
        self.http = httpx.Client(base_url=self.base, headers={"X-API-Key": key}, timeout=60, trust_env=False)

    def upload(self, image: DemoImage) -> str:
        """Upload a file and return its image id; a repeated upload returns the same id."""
        name = image.photo if image.variant == "original" else f"{image.variant} of {image.photo}"
        digest = hashlib.sha256(image.body + name.encode()).hexdigest()[:32]
        for _ in range(5):
            answer = self.http.post(
                "/images",
                files={"file": (name, image.body)},
                data={"tags": [image.variant]},
                headers={"Idempotency-Key": f"demo-{digest}"},
            )
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        answer.raise_for_status()
        return str(answer.json()["imageId"])

    def status(self, image_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/images/{image_id}")
        answer.raise_for_status()
        return dict(answer.json())

    def similar(self, image_id: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.http.get(f"/images/{image_id}/similar", params=parameters)
        answer.raise_for_status()
        return list(answer.json()["results"])

    def thumbnail(self, image_id: str) -> bytes:
        answer = self.http.get(f"/images/{image_id}/thumbnails/small")
        answer.raise_for_status()
        return answer.content


def run_demo(state: Mapping[str, Any], config: LocalConfig, folder: Path | None, limit: int, *, stays_up: bool) -> bool:
    """Run the demo on a running stack; return whether every expectation holds."""
    client = Client(state["api"], _provision(state["environment"], config))
    photos, left_out = folder_photos(folder, limit) if folder else (scikit_image_photos(), [])
    for line in left_out:
        console.print(f"left out {line}", highlight=False)
    if not photos:
        raise ServiceFailed(f"{folder} contains no image that can be decoded. Try another folder.")
    images = [*_demo_images(photos)]
    console.print(f"{len(photos)} photos, {len(images) - len(photos)} copies of them")
    outcome = Outcome()
    ids = _upload_all(client, images, outcome)
    _await_all(client, ids, outcome)
    rows = _search_all(client, images, ids, outcome)
    sheet = write_contact_sheet(config.state_dir / "demo" / "index.html", rows)
    _report(outcome, sheet)
    if stays_up and ids:
        _print_next_steps(client, state["api"], sheet.with_name("query.jpg"), next(iter(ids.values())))
    return outcome.succeeded


def _provision(environment: Mapping[str, str], config: LocalConfig) -> str:
    container = container_for(environment)
    container.provisioning.provision(TENANT, TENANT_NAME, config.storage)
    return container.api_keys.create(TENANT, "demo")


def _demo_images(photos: Sequence[Photo]) -> Iterator[DemoImage]:
    for photo in photos:
        yield DemoImage(photo.name, "original", photo.body)
    for photo in photos[:MAX_PHOTOS_WITH_COPIES]:
        for name, body in variants_of(photo.body).items():
            yield DemoImage(photo.name, name, body)


def _upload_all(client: Client, images: Sequence[DemoImage], outcome: Outcome) -> dict[DemoImage, str]:
    """Upload all images and return their ids; refused ones are added to ``outcome``."""
    ids: dict[DemoImage, str] = {}

    def upload(image: DemoImage) -> None:
        try:
            ids[image] = client.upload(image)
        except httpx.HTTPStatusError as error:
            outcome.failed.append(f"{image.photo}: {error.response.text[:200]}")

    with _progress() as progress, ThreadPoolExecutor(4) as uploaders:
        task = progress.add_task("uploading", total=len(images))
        for _ in uploaders.map(upload, images):
            progress.advance(task)
    return {image: ids[image] for image in images if image in ids}


def _await_all(client: Client, ids: Mapping[DemoImage, str], outcome: Outcome) -> None:
    """Wait until every image is completed or failed; add the failed ones to ``outcome``."""
    waiting = {image_id: image for image, image_id in ids.items()}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    started = time.monotonic()
    with _progress() as progress:
        task = progress.add_task("searchable", total=len(waiting))
        while waiting and time.monotonic() < deadline:
            for image_id in [*waiting][:40]:
                answer = client.status(image_id)
                if answer["status"] in ("completed", "failed"):
                    image = waiting.pop(image_id)
                    progress.advance(task)
                    if answer["status"] == "failed":
                        outcome.failed.append(f"{image.variant} of {image.photo}: {answer.get('error')}")
            time.sleep(0.1)
    outcome.failed += [f"{image.variant} of {image.photo}: not searchable in time" for image in waiting.values()]
    console.print(f"processing ended {time.monotonic() - started:.1f} s after the last upload")


def _search_all(
    client: Client, images: Sequence[DemoImage], ids: Mapping[DemoImage, str], outcome: Outcome
) -> list[Row]:
    """Search among the originals with every copy, and determine the rank of its original."""
    originals = {image.photo: ids[image] for image in images if image.variant == "original" and image in ids}
    names = {image_id: photo for photo, image_id in originals.items()}
    rows: list[Row] = []
    copies = [image for image in images if image.variant != "original" and image in ids and image.photo in originals]
    with _progress() as progress:
        for image in progress.track(copies, description="searching"):
            results = client.similar(ids[image], tag="original", limit=5)
            hits = [Hit(names.get(result["imageId"], "?"), result["score"], result["imageId"]) for result in results]
            rank = next((n for n, hit in enumerate(hits, 1) if hit.image_id == originals[image.photo]), None)
            if rank != 1:
                outcome.missed.append(f"{image.variant} of {image.photo}: original at rank {rank or 'beyond 5'}")
            rows.append(Row(image.photo, image.variant, client.thumbnail(ids[image]), rank, hits))
    thumbnails = {image_id: client.thumbnail(image_id) for image_id in names}
    for row in rows:
        row.thumbnails = thumbnails
    _table(rows)
    return rows


def _table(rows: Sequence[Row]) -> None:
    table = Table(title="copies whose original is at rank 1", title_justify="left")
    for heading, justify in (("copy", "left"), ("queries", "right"), ("rank 1", "right"), ("lowest score", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for variant in VARIANTS:
        queries = [row for row in rows if row.variant == variant]
        first = sum(row.rank == 1 for row in queries)
        scores = [hit.score for row in queries for hit in row.hits if hit.photo == row.photo]
        lowest = f"{min(scores):.3f}" if scores else ""
        colour = "green" if first == len(queries) else "red"
        table.add_row(variant, str(len(queries)), f"[{colour}]{first}[/]", lowest)
    console.print(table)


def _report(outcome: Outcome, sheet: Path) -> None:
    for line in (*outcome.failed, *outcome.missed):
        console.print(f"[red]✗[/] {line}", highlight=False)
    if outcome.succeeded:
        console.print("[green]✓[/] every upload completed, every copy found its original first")
    console.print(f"\ncontact sheet  {sheet.absolute().as_uri()}", highlight=False, soft_wrap=True)


def _print_next_steps(client: Client, api: str, query: Path, image_id: str) -> None:
    """Print URLs, and commands that can be run as printed."""
    query.write_bytes(client.http.get(f"/images/{image_id}/thumbnails/medium").content)
    console.print(f"API            {api}/v1/docs\nstop it with    make down\n", highlight=False)
    key = f"X-API-Key: {client.http.headers['X-API-Key']}"
    for command in (
        f"curl -H '{key}' '{api}/v1/images?limit=3'",
        f"curl -H '{key}' '{api}/v1/images/{image_id}/similar?limit=3'",
        f"curl -H '{key}' -F file=@{query.absolute()} '{api}/v1/search/image?limit=3'",
    ):
        # Not wrapped: a command with line breaks would not run.
        console.print(command, soft_wrap=True, highlight=False, markup=False)


def _progress() -> Progress:
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
