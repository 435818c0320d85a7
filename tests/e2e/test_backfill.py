"""A back-fill of a directory while functions are killed: every object becomes one image."""

import os
import time
from io import BytesIO
from pathlib import Path

import httpx
from deeplens.auth.scopes import ADMIN
from deeplens.bootstrap import Parts
from deeplens.db.connections import connect
from deeplens.db.directory import database_url
from PIL import Image

from local.stack import Stack
from tests.e2e.conftest import eventually, new_client

OBJECTS = int(os.environ.get("BACKFILL_OBJECTS", "300"))
SECONDS = float(os.environ.get("BACKFILL_SECONDS", "240"))
TENANT = "tenant_backfill"
KILLED = ("on_image_maintenance", "on_image_maintenance", "on_image_uploaded", "on_processing_completed")


def tiny(number: int) -> bytes:
    out = BytesIO()
    colour = (number % 256, number // 256 % 256, number * 7 % 256)
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def test_a_backfill_that_is_killed_loses_and_doubles_nothing(stack: Stack, parts: Parts) -> None:
    client = new_client(stack, parts, TENANT, "nfs")
    folder: Path = stack.state_dir / "tenants" / TENANT / "archive"
    for number in range(OBJECTS):
        path = folder / f"{number // 100:03}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny(number))
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    base = f"{stack.api_url}/v1/admin"
    with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as admin:
        stores = f"/tenants/{TENANT}/stores"
        store = admin.post(stores, json={"kind": "nfs", "container": "archive"}).json()
        began = time.monotonic()
        run_id = admin.post(f"{stores}/{store['storeId']}/scan").json()["runId"]
        pools, most, killed = stack.runner.pools, 0, 0  # type: ignore[union-attr]
        while (run := admin.get(f"/maintenance/{run_id}").json())["state"] == "running":
            most = max(most, parts.pending.count(TENANT))
            listed = run["checked"].get("objects", 0)
            if killed < 8 and listed >= (killed + 1) * OBJECTS // 10:
                killed += pools[KILLED[killed % len(KILLED)]].kill_one() is not None
            assert time.monotonic() < began + SECONDS, run
            time.sleep(0.2)
        eventually(lambda: parts.pending.count(TENANT) == 0, seconds=began + SECONDS - time.monotonic())
        took = time.monotonic() - began
    with connect(database_url(parts.connections.platform_url, f"deeplens_{TENANT}")) as connection:
        rows = connection.execute("SELECT step, count(*) AS n FROM images GROUP BY step").fetchall()
        paths = connection.execute("SELECT count(DISTINCT storage_path) AS n FROM images").fetchall()
    figures = f"{OBJECTS} objects, {killed} kills, {took:.0f} s, {OBJECTS / took:.1f}/s, {most} pending at most"
    print(figures, run)  # noqa: T201 - the measurement
    assert run["error"] is None, run
    assert run["found"] == {"object-new": OBJECTS}
    assert [(row["step"], row["n"]) for row in rows] == [(5, OBJECTS)]
    assert paths[0]["n"] == OBJECTS
    assert parts.index.count(client.tenant) == OBJECTS
    assert killed >= 4
    assert most <= parts.scan_window
