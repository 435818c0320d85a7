"""Customer-owned storage works on LocalStack's S3, in a directory and on Azurite."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from azure.storage.blob import ContainerClient
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.harness.azurite import ACCOUNT, KEY, azurite
from tests.harness.films import film

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")

SECRET = "sunflower7731sunflower7731"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@dataclass
class Owned:
    """A tenant with a store of its own, and what its owner does to it."""

    client: TenantClient
    admin: httpx.Client
    store: dict[str, Any]
    write: Callable[[str, bytes], object]
    remove: Callable[[str], object]

    @property
    def path(self) -> str:
        return f"/tenants/{self.client.tenant.id}/stores/{self.store['storeId']}"

    def scan(self) -> dict[str, Any]:
        answer = self.admin.post(f"{self.path}/scan")
        assert answer.status_code == 202, answer.text
        run = f"/maintenance/{answer.json()['runId']}"
        return eventually(lambda: dict(self.admin.get(run).json()), lambda found: found["state"] != "running")

    def images(self) -> dict[str, dict[str, Any]]:
        images = self.client.http.get("/images", params={"limit": 100}).json()["images"]
        return {image["fileName"]: image for image in images}

    def until_video(self) -> dict[str, Any]:
        """The only video, once it completed."""
        (video,) = eventually(
            lambda: self.client.http.get("/videos").json()["videos"],
            lambda found: [video["status"] for video in found] == ["completed"],
        )
        return dict(video)

    def until(self, *names: str) -> dict[str, dict[str, Any]]:
        """The images once they are these, and all completed."""
        return eventually(
            self.images,
            lambda found: set(found) == set(names) and all(image["status"] == "completed" for image in found.values()),
        )


def s3_of(stack: Stack, secret: str = "test") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=stack.environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key=secret,
    )


def registered(admin: httpx.Client, tenant_id: str, **wanted: Any) -> dict[str, Any]:
    answer = admin.post(f"/tenants/{tenant_id}/stores", json=wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def share_of(stack: Stack, tenant_id: str, name: str) -> Path:
    folder = stack.state_dir / "tenants" / tenant_id / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_file(folder: Path, key: str, body: bytes) -> None:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@pytest.fixture(params=["s3", "nfs", "azure"])
def owned(
    request: pytest.FixtureRequest, stack: Stack, parts: Container, admin: httpx.Client, tmp_path: Path
) -> Iterator[Owned]:
    client = new_client(stack, parts, f"tenant_owner_{request.param}", "nfs")
    tenant_id = client.tenant.id
    if request.param == "s3":
        s3, bucket = s3_of(stack), "acme-photos"
        s3.create_bucket(Bucket=bucket)
        keys = {"accessKeyId": "test", "secretAccessKey": "test"}
        store = registered(admin, tenant_id, kind="s3", container=bucket, prefix="in/", credentials=keys)
        yield Owned(
            client,
            admin,
            store,
            lambda key, body: s3.put_object(Bucket=bucket, Key=f"in/{key}", Body=body),
            lambda key: s3.delete_object(Bucket=bucket, Key=f"in/{key}"),
        )
    elif request.param == "nfs":
        folder = share_of(stack, tenant_id, "scans")
        store = registered(admin, tenant_id, kind="nfs", container="scans")
        write = lambda key, body: write_file(folder, key, body)  # noqa: E731
        yield Owned(client, admin, store, write, lambda key: (folder / key).unlink())
    else:
        with azurite(tmp_path) as endpoint:
            blobs = ContainerClient(endpoint, "photos", {"account_name": ACCOUNT, "account_key": KEY})
            blobs.create_container()
            keys = {"accountName": ACCOUNT, "accountKey": KEY}
            store_request = {"kind": "azure", "container": "photos", "endpoint": endpoint, "credentials": keys}
            store = registered(admin, tenant_id, **store_request)
            write = lambda key, body: blobs.upload_blob(key, body, overwrite=True)  # noqa: E731
            yield Owned(client, admin, store, write, lambda key: blobs.delete_blob(key))


def test_a_store_of_a_tenants_own_is_read_where_it_is_and_followed(owned: Owned) -> None:
    assert owned.store["state"] == "ready", owned.store
    bodies = {f"{number}.jpg": picture(7000 + number) for number in range(5)}
    for name, body in bodies.items():
        owned.write(f"a b/{name}", body)
    owned.write("a b/notes.txt", b"no picture")
    owned.write("a b/party.mp4", film())

    assert owned.scan()["found"] == {"object-new": 6, "object-ignored": 1}
    images, video = owned.until(*bodies), owned.until_video()

    assert owned.client.search(bodies["3.jpg"])[0]["imageId"] == images["3.jpg"]["imageId"]
    content = owned.client.http.get(f"/images/{images['3.jpg']['imageId']}/content")
    assert content.content == bodies["3.jpg"]
    frames_of_it = {
        frame["imageId"] for frame in owned.client.http.get(f"/videos/{video['videoId']}/frames").json()["frames"]
    }
    own = [key for key in owned.client.objects() if key.startswith(("images/", "videos/"))]
    assert {key.removeprefix("images/").removesuffix(".jpg") for key in own} == frames_of_it
    shown = owned.client.http.get(f"/videos/{video['videoId']}/content")
    assert shown.status_code == (409 if owned.store["kind"] == "nfs" else 307)
    assert owned.scan()["found"] == {"object-ignored": 1}

    owned.write("a b/3.jpg", picture(7100))
    owned.remove("a b/4.jpg")
    assert owned.scan()["found"] == {"object-changed": 1, "object-removed": 1, "object-ignored": 1}
    changed = owned.until("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert changed["3.jpg"]["imageId"] != images["3.jpg"]["imageId"]
    assert owned.client.search(picture(7100))[0]["imageId"] == changed["3.jpg"]["imageId"]
    frames = video["progress"]["frames"]
    assert frames >= 3
    eventually(lambda: owned.client.parts.index.count(owned.client.tenant) == 4 + frames)
    owned.remove("a b/party.mp4")
    assert owned.scan()["found"] == {"object-removed": 1, "object-ignored": 1}
    eventually(lambda: owned.client.parts.index.count(owned.client.tenant) == 4)

    owned.remove("a b/0.jpg")
    named = {"bucket": {"name": owned.store["container"]}, "object": {"key": told(owned, "0.jpg")}}
    blob = {"Records": [{"s3": named}]}
    url = f"/notifications/{owned.client.tenant.id}/{owned.store['storeId']}"
    secret = owned.store["eventSecret"]
    assert owned.client.http.post(f"{url}?secret=x", json=blob).status_code == 404
    assert owned.client.http.post(f"{url}?secret={secret}", json=blob).json() == {"accepted": 1}
    owned.until("1.jpg", "2.jpg", "3.jpg")


def told(owned: Owned, name: str) -> str:
    return f"{owned.store['prefix']}a+b/{name}"


def test_a_bucket_of_another_account_notifies_the_queue(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    client = new_client(stack, parts, "tenant_notified", "nfs")
    s3 = s3_of(stack)
    s3.create_bucket(Bucket="acme-live")
    keys = {"accessKeyId": "test", "secretAccessKey": "test"}
    store = registered(admin, client.tenant.id, kind="s3", container="acme-live", credentials=keys)
    checks = {check["check"]: check for check in store["checks"]}
    assert (store["state"], checks["notification"]["outcome"]) == ("ready", "not-configured")
    # What the advice says is what is pasted.
    s3.put_bucket_notification_configuration(
        Bucket="acme-live", NotificationConfiguration=json.loads(checks["notification"]["snippet"])
    )
    probed = admin.post(f"/tenants/{client.tenant.id}/stores/{store['storeId']}/probe").json()
    assert {check["check"]: check["outcome"] for check in probed["checks"]}["notification"] == "passed"

    owned = Owned(client, admin, store, lambda *_: None, lambda *_: None)
    s3.put_object(Bucket="acme-live", Key="new/ö +.jpg", Body=picture(7200))
    owned.until("ö +.jpg")
    assert admin.get(owned.path).json()["notifiedAt"]
    s3.delete_object(Bucket="acme-live", Key="new/ö +.jpg")
    owned.until()


def test_everything_of_a_managed_tenant_stands_in_its_own_store(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    client = new_client(stack, parts, "tenant_managed", "nfs")
    s3 = s3_of(stack)
    s3.create_bucket(Bucket="acme-vault")
    keys = {"accessKeyId": "test", "secretAccessKey": "test"}
    store = registered(admin, client.tenant.id, kind="s3", mode="managed", container="acme-vault", credentials=keys)
    assert store["state"] == "ready"
    placed = parts.tenants.get(client.tenant.id, fresh=True)
    assert placed.storage_uri == f"s3://{store['storeId']}"

    image_id = client.completed(picture(7300))
    assert client.http.get(f"/images/{image_id}/content").content == picture(7300)
    keys_there = [entry["Key"] for entry in s3.list_objects_v2(Bucket="acme-vault")["Contents"]]
    assert len(keys_there) == 4
    assert all(key.startswith("deeplens/") and image_id in key for key in keys_there)
    assert client.search(picture(7300))


def test_credentials_are_rotated_and_never_seen(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    client = new_client(stack, parts, "tenant_rotated", "nfs")
    s3_of(stack).create_bucket(Bucket="acme-turning")
    keys = {"accessKeyId": "test", "secretAccessKey": SECRET}
    store_request = {"kind": "s3", "container": "acme-turning", "credentials": keys}
    store = registered(admin, client.tenant.id, **store_request)
    path = f"/tenants/{client.tenant.id}/stores/{store['storeId']}"
    refused = admin.post(f"/tenants/{client.tenant.id}/stores", json=store_request | {"colour": "red"})
    assert refused.status_code == 422
    rotated = admin.post(f"{path}/rotate", json={"credentials": {**keys, "secretAccessKey": f"{SECRET}2"}})
    assert rotated.json()["credentialsVersion"] == 2
    name = f"deeplens/stores/{client.tenant.id}/{store['storeId']}"
    assert SECRET in parts.secret_store.get(f"{name}/2")
    with pytest.raises(Exception, match=f"{name}/1"):
        parts.secret_store.get(f"{name}/1")
    told = [json.dumps(store), refused.text, rotated.text, admin.get(path).text, admin.get("/audit").text]
    with parts.connections.platform() as connection:
        told += [str(row) for row in connection.execute("SELECT * FROM tenant_stores")]
        told += [str(row) for row in connection.execute("SELECT * FROM audit_log")]
    assert admin.delete(path).status_code == 204
    logs = [file.read_text(errors="replace") for file in stack.log_dir.rglob("*") if file.is_file()]
    assert len(logs) > 5
    assert not [text for text in (*told, *logs) if SECRET in text or store["eventSecret"] in text][1:]
    assert SECRET not in told[0]
