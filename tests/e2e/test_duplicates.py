"""Duplicates are found, decided, merged, undone and refused over HTTP."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.images.model import Tombstone
from PIL import Image, ImageOps

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def make(stack: Stack, parts: Container, admin: httpx.Client) -> Callable[..., TenantClient]:
    """New tenants; no function remembers them from before their policy was set."""

    def made(name: str, **policy: Any) -> TenantClient:
        client = new_client(stack, parts, f"tenant_dup_{name}", "nfs")
        if policy:
            answer = admin.put(f"/tenants/{client.tenant.id}/duplicates", json=policy)
            assert (answer.status_code, answer.json()) == (200, {"action": "report", "undoSeconds": 604800} | policy)
        return client

    return made


@pytest.fixture(scope="module")
def reviewed(make: Callable[..., TenantClient]) -> TenantClient:
    return make("reviewed")


def re_encoded(body: bytes, change: Callable[[Image.Image], Image.Image] = lambda image: image) -> bytes:
    """In another format, a little smaller."""
    with Image.open(BytesIO(body)) as opened:
        image = change(opened.convert("RGB")).resize((280, 280), Image.Resampling.BICUBIC)
    out = BytesIO()
    image.save(out, "WEBP", quality=70)
    return out.getvalue()


def groups(client: TenantClient) -> list[dict[str, Any]]:
    answer = client.http.get("/duplicates")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["groups"])


def group_with(client: TenantClient, *image_ids: str) -> dict[str, Any]:
    """The group of exactly these images, when it is there."""

    def look() -> dict[str, Any] | None:
        found = [group for group in groups(client) if {image["imageId"] for image in group["images"]} == set(image_ids)]
        return found[0] if found else None

    return eventually(look) or {}


def scanned(admin: httpx.Client, client: TenantClient) -> dict[str, Any]:
    answer = admin.post("/maintenance", json={"tenantId": client.tenant.id, "type": "duplicate-scan"})
    assert answer.status_code == 202, answer.text
    run_id = answer.json()["runId"]
    return eventually(lambda: admin.get(f"/maintenance/{run_id}").json(), lambda run: run["state"] == "ended")


def test_copies_are_grouped_and_a_similar_picture_is_not(reviewed: TenantClient) -> None:
    original = picture(7000)
    first = reviewed.completed(original)
    copy, other_file = reviewed.completed(original), reviewed.completed(re_encoded(original))
    # The model finds a mirrored picture all but equal; it is another picture all the same.
    similar = reviewed.completed(re_encoded(original, ImageOps.mirror))
    group = group_with(reviewed, first, copy, other_file)
    verdicts = {frozenset(pair["imageIds"]): pair["verdict"] for pair in group["pairs"]}
    assert verdicts[frozenset((first, copy))] == "exact"
    assert verdicts[frozenset((first, other_file))] in ("re-encoded", "near")

    compared = reviewed.http.get(f"/images/{similar}/compare/{first}").json()
    assert compared["imageIds"] == [first, similar]
    assert (compared["verdict"], compared["sameBytes"]) == (None, False)
    assert compared["hashDistance"] > 10
    assert reviewed.http.get(f"/images/{first}/compare/{copy}").json()["verdict"] == "exact"


def test_a_decision_survives_a_new_scan(reviewed: TenantClient, admin: httpx.Client) -> None:
    original = picture(7010)
    one, other = reviewed.completed(original), reviewed.completed(re_encoded(original))
    group = group_with(reviewed, one, other)
    path = f"/duplicates/{group['duplicateId']}"
    answer = reviewed.http.post(f"{path}/decision", json={"decision": "not-duplicate"})
    assert (answer.status_code, set(answer.json()["imageIds"])) == (200, {one, other})
    assert reviewed.http.get(path).status_code == 404

    run = scanned(admin, reviewed)
    assert run["progress"] == 1
    assert run["checked"]["images"] >= 2
    assert run["found"]
    third = reviewed.completed(re_encoded(original))  # found only after what the scan told
    eventually(lambda: any(third in str(one_group) for one_group in groups(reviewed)))
    compared = reviewed.http.get(f"/images/{one}/compare/{other}").json()
    assert compared["decision"] == "not-duplicate"


def test_a_merged_image_leads_to_the_kept_one_and_an_undo_brings_it_back(reviewed: TenantClient) -> None:
    original = picture(7020)
    kept = reviewed.completed(original, tags="kept", metadata='{"iso": 100}')
    merged = reviewed.completed(re_encoded(original), tags="merged", metadata='{"iso": 200, "lens": "Z"}')
    group = group_with(reviewed, kept, merged)
    path = f"/duplicates/{group['duplicateId']}"
    answer = reviewed.http.post(f"{path}/merge", json={"keep": kept})
    assert answer.status_code == 200, answer.text
    merge = answer.json()
    assert (merge["kept"], merge["merged"], merge["state"]) == (kept, [merged], "merged")
    assert reviewed.http.post(f"{path}/merge", json={"keep": kept}).json() == merge

    for suffix in ("", "/content", "/thumbnails/small", "/similar?limit=3"):
        moved = reviewed.http.get(f"/images/{merged}{suffix}")
        assert (moved.status_code, moved.headers["location"]) == (301, f"/v1/images/{kept}{suffix}")
    changed = reviewed.http.patch(f"/images/{merged}", json={"tags": ["x"]})
    assert (changed.status_code, changed.headers["location"]) == (308, f"/v1/images/{kept}")
    image = reviewed.image(kept)
    assert (image["tags"], image["metadata"]) == (["kept", "merged"], {"iso": 100, "lens": "Z"})
    # The kept one is searched by what it has now.
    eventually(lambda: [r["imageId"] for r in reviewed.search(original, tag=["kept", "merged"])] == [kept])
    assert merged not in {result["imageId"] for result in reviewed.search(original)}

    undone = reviewed.http.post(f"/merges/{merge['mergeId']}/undo")
    assert (undone.status_code, undone.json()["state"]) == (200, "undone")
    assert reviewed.image(merged)["tags"] == ["merged"]
    assert reviewed.image(kept)["tags"] == ["kept"]
    eventually(lambda: merged in {result["imageId"] for result in reviewed.search(original)})
    assert group_with(reviewed, kept, merged)["duplicateId"] == group["duplicateId"]
    assert reviewed.http.post(f"/merges/{merge['mergeId']}/undo").json()["state"] == "undone"


def test_a_merge_beyond_its_time_removes_all_but_the_alias(make: Callable[..., TenantClient]) -> None:
    client = make("settled", action="report", undoSeconds=0)
    original = picture(7030)
    kept, merged = client.completed(original), client.completed(re_encoded(original))
    group = group_with(client, kept, merged)
    merge = client.http.post(f"/duplicates/{group['duplicateId']}/merge", json={"keep": kept}).json()
    eventually(lambda: [key for key in client.objects() if merged in key] == [])
    eventually(lambda: client.parts.index.existing(client.tenant, [kept, merged]) == {kept})

    def tombstone() -> Tombstone:
        found = client.parts.images.find(client.tenant, [merged])[merged]
        assert isinstance(found, Tombstone)
        return found

    assert eventually(tombstone, lambda found: found.receipt is not None).merged_into == kept
    moved = client.http.get(f"/images/{merged}")
    assert (moved.status_code, moved.headers["location"]) == (301, f"/v1/images/{kept}")
    refused = client.http.post(f"/merges/{merge['mergeId']}/undo")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/merge-settled")
    assert client.http.get("/merges").json()["merges"][0]["state"] == "settled"
    assert client.image(kept)["status"] == "completed"


def test_a_file_is_refused_where_it_is_there_already(make: Callable[..., TenantClient]) -> None:
    client = make("strict", action="reject")
    body = picture(7040)
    first = client.upload(body)
    again = client.http.post("/images", files={"file": ("again.jpg", body)})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/duplicate-image")
    assert first in again.json()["detail"]
    assert again.headers["location"] == f"/v1/images/{first}"
    client.until_ended(first)
    assert client.http.get("/images").json()["images"][0]["imageId"] == first
    assert len(client.http.get("/images").json()["images"]) == 1
    assert client.http.delete(f"/images/{first}").status_code == 202
    assert client.upload(body) != first


def test_of_exact_copies_exactly_one_stays(make: Callable[..., TenantClient]) -> None:
    client = make("merging", action="auto-merge-exact", undoSeconds=3600)
    body = picture(7050)
    ids = [client.upload(body, name=f"{number}.jpg") for number in range(6)]

    def alive() -> list[str]:
        return [
            image["imageId"] for image in client.http.get("/images", params={"status": "completed"}).json()["images"]
        ]

    eventually(lambda: len(client.http.get("/merges").json()["merges"]) == 5)
    assert eventually(alive, lambda found: len(found) == 1) == [ids[0]]
    for image_id in ids[1:]:
        at, hops = f"/images/{image_id}", 0
        while (answer := client.http.get(at)).status_code == 301:
            at, hops = answer.headers["location"].removeprefix("/v1"), hops + 1
        assert (answer.json()["imageId"], hops >= 1) == (ids[0], True)
    assert groups(client) == []


def test_no_tenant_sees_or_touches_anothers_duplicates(
    reviewed: TenantClient, make: Callable[..., TenantClient]
) -> None:
    original = picture(7060)
    ours = [reviewed.completed(original), reviewed.completed(original)]
    group = group_with(reviewed, *ours)
    thief = make("thief")
    theirs = [thief.completed(original), thief.completed(original)]
    group_with(thief, *theirs)
    path = f"/duplicates/{group['duplicateId']}"
    attempts = [
        thief.http.get(path),
        thief.http.get(f"/images/{theirs[0]}/compare/{ours[0]}"),
        thief.http.post(f"{path}/merge", json={"keep": ours[0]}),
        thief.http.post(f"{path}/decision", json={"decision": "not-duplicate"}),
    ]
    assert [answer.status_code for answer in attempts] == [404] * 4
    assert group_with(reviewed, *ours)["duplicateId"] == group["duplicateId"]
    own = {image["imageId"] for group in groups(thief) for image in group["images"]}
    assert own == set(theirs)


def test_a_webhook_is_told_once_per_pair(
    make: Callable[..., TenantClient], admin: httpx.Client, parts: Container
) -> None:
    client = make("told")
    hooks = f"/tenants/{client.tenant.id}/webhooks"
    made = admin.post(hooks, json={"url": "http://127.0.0.1:9/nobody", "events": ["duplicates.found"]})
    assert made.status_code == 201, made.text
    body = picture(7070)
    ids = [client.completed(body) for _ in range(3)]
    group_with(client, *ids)

    def deliveries() -> list[str]:
        with parts.connections.platform() as connection:
            rows = connection.execute(
                "SELECT body::jsonb -> 'data' ->> 'pairId' AS pair FROM webhook_deliveries WHERE tenant_id = %s",
                [client.tenant.id],
            )
            return [row["pair"] for row in rows]

    eventually(lambda: len(deliveries()) == 3)
    scanned(admin, client)
    assert len(set(deliveries())) == len(deliveries()) == 3
