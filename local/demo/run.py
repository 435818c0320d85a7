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
VARIED_PHOTOS = 30
"""Of a large folder, copies are made of this many photos only."""
PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the demo; ``photo`` names what it shows, ``variant`` how it was changed."""

    photo: str
    variant: str
    body: bytes


@dataclass(slots=True)
class Outcome:
    """Results of the demo."""

    failed: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.failed and not self.missed


class Client:
    """The API as a developer would call it."""

    def __init__(self, api: str, key: str) -> None:
        self.base = f"{api}/v1"
        self.http = httpx.Client(base_url=self.base, headers={"X-API-Key": key}, timeout=60, trust_env=False)

    def upload(self, item: Item) -> str:
        """Upload a file; the same file twice is one image. Returns its id."""
        name = item.photo if item.variant == "original" else f"{item.variant} of {item.photo}"
        digest = hashlib.sha256(item.body + name.encode()).hexdigest()[:32]
        for _ in range(5):
            answer = self.http.post(
                "/images",
                files={"file": (name, item.body)},
                data={"tags": [item.variant]},
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
        raise ServiceFailed(f"{folder} holds no image that can be decoded; try another folder")
    items = [*_items(photos)]
    console.print(f"{len(photos)} photos, {len(items) - len(photos)} copies of them")
    outcome = Outcome()
    ids = _upload_all(client, items, outcome)
    _await_all(client, ids, outcome)
    rows = _search_all(client, items, ids, outcome)
    sheet = write_contact_sheet(config.state_dir / "demo" / "index.html", rows)
    _report(outcome, sheet)
    if stays_up and ids:
        _print_what_next(client, state["api"], sheet.with_name("query.jpg"), next(iter(ids.values())))
    return outcome.held


def _provision(environment: Mapping[str, str], config: LocalConfig) -> str:
    container = container_for(environment)
    container.provisioning.provision(TENANT, TENANT_NAME, config.storage)
    return container.api_keys.create(TENANT, "demo")


def _items(photos: Sequence[Photo]) -> Iterator[Item]:
    for photo in photos:
        yield Item(photo.name, "original", photo.body)
    for photo in photos[:VARIED_PHOTOS]:
        for name, body in variants_of(photo.body).items():
            yield Item(photo.name, name, body)


def _upload_all(client: Client, items: Sequence[Item], outcome: Outcome) -> dict[Item, str]:
    """Image ids by item; what the API refuses is reported, not raised."""
    ids: dict[Item, str] = {}

    def upload(item: Item) -> None:
        try:
            ids[item] = client.upload(item)
        except httpx.HTTPStatusError as error:
            outcome.failed.append(f"{item.photo}: {error.response.text[:200]}")

    with _progress() as progress, ThreadPoolExecutor(4) as uploaders:
        task = progress.add_task("uploading", total=len(items))
        for _ in uploaders.map(upload, items):
            progress.advance(task)
    return {item: ids[item] for item in items if item in ids}


def _await_all(client: Client, ids: Mapping[Item, str], outcome: Outcome) -> None:
    """Wait until every image has ended, and note those that failed."""
    waiting = {image_id: item for item, image_id in ids.items()}
    deadline = time.monotonic() + PATIENCE_SECONDS
    started = time.monotonic()
    with _progress() as progress:
        task = progress.add_task("searchable", total=len(waiting))
        while waiting and time.monotonic() < deadline:
            for image_id in [*waiting][:40]:
                image = client.status(image_id)
                if image["status"] in ("completed", "failed"):
                    item = waiting.pop(image_id)
                    progress.advance(task)
                    if image["status"] == "failed":
                        outcome.failed.append(f"{item.variant} of {item.photo}: {image.get('error')}")
            time.sleep(0.1)
    outcome.failed += [f"{item.variant} of {item.photo}: not searchable in time" for item in waiting.values()]
    console.print(f"all ended {time.monotonic() - started:.1f} s after the last upload")


def _search_all(client: Client, items: Sequence[Item], ids: Mapping[Item, str], outcome: Outcome) -> list[Row]:
    """Search with every copy, among the originals, and rank what it was made from."""
    originals = {item.photo: ids[item] for item in items if item.variant == "original" and item in ids}
    names = {image_id: photo for photo, image_id in originals.items()}
    rows: list[Row] = []
    copies = [item for item in items if item.variant != "original" and item in ids and item.photo in originals]
    with _progress() as progress:
        for item in progress.track(copies, description="searching"):
            found = client.similar(ids[item], tag="original", limit=5)
            hits = [Hit(names.get(hit["imageId"], "?"), hit["score"], hit["imageId"]) for hit in found]
            rank = next((n for n, hit in enumerate(hits, 1) if hit.image_id == originals[item.photo]), None)
            if rank != 1:
                outcome.missed.append(f"{item.variant} of {item.photo}: original at rank {rank or 'beyond 5'}")
            rows.append(Row(item.photo, item.variant, client.thumbnail(ids[item]), rank, hits))
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
        mine = [row for row in rows if row.variant == variant]
        first = sum(row.rank == 1 for row in mine)
        scores = [hit.score for row in mine for hit in row.hits if hit.photo == row.photo]
        lowest = f"{min(scores):.3f}" if scores else ""
        table.add_row(variant, str(len(mine)), f"[{'green' if first == len(mine) else 'red'}]{first}[/]", lowest)
    console.print(table)


def _report(outcome: Outcome, sheet: Path) -> None:
    for line in (*outcome.failed, *outcome.missed):
        console.print(f"[red]✗[/] {line}", highlight=False)
    if outcome.held:
        console.print("[green]✓[/] every upload completed, every copy found its original first")
    console.print(f"\ncontact sheet  {sheet.absolute().as_uri()}", highlight=False, soft_wrap=True)


def _print_what_next(client: Client, api: str, query: Path, image_id: str) -> None:
    """Print URLs, and commands that can be run as printed."""
    query.write_bytes(client.http.get(f"/images/{image_id}/thumbnails/medium").content)
    console.print(f"API            {api}/v1/docs\nstop it with    make down\n", highlight=False)
    key = f"X-API-Key: {client.http.headers['X-API-Key']}"
    for command in (
        f"curl -H '{key}' '{api}/v1/images?limit=3'",
        f"curl -H '{key}' '{api}/v1/images/{image_id}/similar?limit=3'",
        f"curl -H '{key}' -F file=@{query.absolute()} '{api}/v1/search/image?limit=3'",
    ):
        # Printed as it is: a wrapped line would not run.
        console.print(command, soft_wrap=True, highlight=False, markup=False)


def _progress() -> Progress:
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
