"""A back-fill of a directory creates one image per object although functions are killed."""

import os
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.database.connections import connect
from deeplens.database.credentials import database_url
from PIL import Image

from local.stack.stack import Stack
from tests.e2e.conftest import new_client

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")

OBJECTS = [60, pytest.param(int(os.environ.get("BACKFILL_OBJECTS", "1000")), marks=pytest.mark.long)]
SECONDS_PER_OBJECT, STANDS_STILL_SECONDS = 2.5, 6
KILLED = ("on_image_maintenance", "on_image_maintenance", "on_image_uploaded", "on_processing_completed")


def tiny(number: int) -> bytes:
    out = BytesIO()
    colour = (number % 256, number // 256 % 256, number * 7 % 256)
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def let_time_pass(parts: Container, tenant_id: str) -> None:
    """What a killed process took with it is due: the schedule sends it again within a minute."""
    with parts.connections.platform() as connection:
        past = "now() - interval '1 second'"
        connection.execute(f"UPDATE pending_images SET due = {past} WHERE tenant_id = '{tenant_id}' AND released")  # type: ignore[arg-type]
        connection.execute(f"UPDATE maintenance_runs SET due = {past} WHERE tenant_id = '{tenant_id}'")  # type: ignore[arg-type]


@dataclass
class Watch:
    """Notices when nothing has moved for a while."""

    seen: tuple[Any, ...] = ()
    since: float = field(default_factory=time.monotonic)

    def stands_still(self, *now: Any) -> bool:
        if now != self.seen:
            self.seen, self.since = now, time.monotonic()
        if time.monotonic() < self.since + STANDS_STILL_SECONDS:
            return False
        self.since = time.monotonic()
        return True


def prepared(folder: Path, objects: int) -> None:
    for number in range(objects):
        path = folder / f"{number // 100:03}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny(number))


@pytest.mark.parametrize("objects", OBJECTS)
def test_a_backfill_that_is_killed_loses_and_doubles_nothing(stack: Stack, parts: Container, objects: int) -> None:
    tenant_id = f"tenant_backfill_{objects}"
    client = new_client(stack, parts, tenant_id, "nfs")
    prepared(stack.state_dir / "tenants" / tenant_id / "archive", objects)
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    pools, watch, most, killed, stalls = stack.runner.pools, Watch(), 0, 0, 0  # type: ignore[union-attr]
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as admin:
        stores = f"/tenants/{tenant_id}/stores"
        store = admin.post(stores, json={"kind": "nfs", "container": "archive"}).json()
        began = time.monotonic()
        run_id = admin.post(f"{stores}/{store['storeId']}/scan").json()["runId"]
        while True:
            run, pending = admin.get(f"/maintenance/{run_id}").json(), parts.pending.count(tenant_id)
            most, listed = max(most, pending), run["checked"].get("objects", 0)
            if run["state"] != "running" and not pending:
                break
            if killed < 8 and listed >= (killed + 1) * objects // 10:
                killed += pools[KILLED[killed % len(KILLED)]].kill_one() is not None
            if watch.stands_still(listed, pending):
                stalls += 1
                let_time_pass(parts, tenant_id)
            assert time.monotonic() < began + 60 + SECONDS_PER_OBJECT * objects, (run, pending)
            time.sleep(0.5)
        took = time.monotonic() - began
    with connect(database_url(parts.connections.platform_url, f"deeplens_{tenant_id}")) as connection:
        rows = connection.execute("SELECT step, count(*) AS n FROM images GROUP BY step").fetchall()
        paths = connection.execute("SELECT count(DISTINCT storage_path) AS n FROM images").fetchall()
    speed = f"{took:.0f} s, {objects / took:.1f}/s, {most} pending at most, {stalls} waits for the schedule"
    print(f"{objects} objects, {killed} kills, {speed}, {run['slices']} slices")  # noqa: T201 - the measurement
    assert run["error"] is None, run
    assert run["found"] == {"object-new": objects}
    assert [(row["step"], row["n"]) for row in rows] == [(5, objects)]
    assert paths[0]["n"] == objects
    assert parts.index.count(client.tenant) == objects
    assert killed >= 4
    assert most <= parts.scan_window
