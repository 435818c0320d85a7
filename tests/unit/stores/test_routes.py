"""Stores over the Admin API: probed, scanned, rotated, and nobody else's; credentials are never seen again."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from deeplens.errors import TenantStoreDenied
from deeplens.events.maintenance import ImageMaintenance
from deeplens.settings import Settings
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import Credentials, TenantStore
from deeplens.stores.resolver import OpenStores

from tests.fakes.storage import MemoryStore
from tests.harness.api import World, picture

PATH = "/v1/admin/tenants/tenant_acme/stores"
ROLE = "arn:aws:iam::111122223333:role/deeplens"
KEYS = {"accessKeyId": "AKIASUNFLOWER", "secretAccessKey": "sunflower7731"}
BUCKET = {"kind": "minio", "container": "photos", "endpoint": "https://93.184.215.14", "credentials": KEYS}


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "tenant_acme" / "scans"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture(1))
    (tmp_path / "tenant_other" / "secret").mkdir(parents=True)
    (tmp_path / "tenant_acme" / "sly").symlink_to(tmp_path / "tenant_other" / "secret")
    return tmp_path


@pytest.fixture
def world(share: Path) -> World:
    role = "arn:aws:iam::999999999999:role/deeplens-tenant-storage"
    return World(
        tenant_nfs_root=share,
        public_url="https://api.example",
        tenant_storage_role_arn=role,
        tenant_bucket_prefix="ours-",
    )


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def added(world: World, **wanted: Any) -> dict[str, Any]:
    answer = world.operator().post(PATH, json={"kind": "nfs", "container": "scans"} | wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_directory_is_registered_probed_shown_and_forgotten(world: World) -> None:
    made, operator = added(world), world.operator()
    outcomes = {check["check"]: check["outcome"] for check in made["checks"]}
    assert outcomes == {"list": "passed", "read": "passed", "write": "skipped", "notification": "waiting"}
    assert made["state"] == "ready"
    path = f"{PATH}/{made['storeId']}"
    shown = {name: value for name, value in made.items() if name != "eventSecret"}
    assert operator.get(path).json() == shown
    assert operator.get(PATH).json()["stores"] == [shown]
    assert operator.post(f"{path}/probe").json() == shown
    assert operator.delete(path).status_code == 204
    assert problem(operator.get(path)) == (404, "store-not-found")


@pytest.mark.parametrize(
    ("container", "outcome"), [("nothing", "missing"), ("sly", "outside"), ("scans/deeper", "missing")]
)
def test_a_directory_that_is_not_the_tenants_own_is_not_ready(world: World, container: str, outcome: str) -> None:
    made = added(world, container=container)
    assert made["state"] == "incomplete"
    assert {check["outcome"] for check in made["checks"] if check["check"] != "write"} >= {outcome}
    scan = world.operator().post(f"{PATH}/{made['storeId']}/scan")
    assert problem(scan) == (409, "store-not-ready")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "nfs", "container": "../tenant_other"},
        {"kind": "nfs", "container": "/etc"},
        {"kind": "nfs", "container": "scans", "prefix": "../"},
        {"kind": "nfs", "container": "scans", "credentials": KEYS},
        {"kind": "s3", "container": "a/b", "credentials": KEYS},
        {"kind": "s3", "container": "photos"},
        {"kind": "s3", "container": "photos", "credentials": {"sas": "sv=1"}},
        {"kind": "s3", "container": "photos", "roleArn": ROLE, "credentials": KEYS},
        {"kind": "s3", "container": "photos", "roleArn": "arn:aws:iam::1:user/x"},
        {"kind": "minio", "container": "photos", "credentials": KEYS},
        {"kind": "azure", "container": "photos", "endpoint": "https://x.example", "credentials": KEYS},
        {"kind": "azure", "container": "photos", "endpoint": "https://x.example/?sig=a", "credentials": {"sas": "a"}},
        {**BUCKET, "endpoint": "https://user:password@93.184.215.14"},
        {**BUCKET, "colour": "red"},
    ],
)
def test_what_makes_no_store_is_refused_and_not_repeated(world: World, wrong: dict[str, Any]) -> None:
    answer = world.operator().post(PATH, json=wrong)
    assert problem(answer) == (422, "invalid-request")
    assert "sunflower" not in answer.text
    assert world.registered_stores.stores == {}
    assert world.secret_store.values == {}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({**BUCKET, "endpoint": "https://169.254.169.254"}, "endpoint-refused"),
        ({**BUCKET, "endpoint": "https://127.0.0.1:9000"}, "endpoint-refused"),
        ({**BUCKET, "endpoint": "http://93.184.215.14"}, "endpoint-refused"),
        ({"kind": "s3", "container": "tenant-other", "credentials": KEYS}, "store-refused"),
        ({"kind": "s3", "container": "tenant-acme", "roleArn": ROLE}, "store-refused"),
        ({"kind": "s3", "container": "ours-acme-999999999999", "roleArn": ROLE}, "store-refused"),
        (
            {"kind": "s3", "container": "photos", "roleArn": "arn:aws:iam::999999999999:role/deeplens-tenant-storage"},
            "store-refused",
        ),
    ],
)
def test_nothing_of_deeplens_or_inside_may_be_registered(world: World, wanted: dict[str, Any], expected: str) -> None:
    assert problem(world.operator().post(PATH, json=wanted)) == (422, expected)
    assert world.registered_stores.stores == {}
    assert world.secret_store.values == {}


def test_buckets_that_look_like_ours_may_be_elsewhere_but_not_here(world: World) -> None:
    world.settings = Settings(s3_endpoint_url="https://93.184.215.14", tenant_nfs_root=world.settings.tenant_nfs_root)
    answer = world.operator().post(PATH, json={**BUCKET, "container": "tenant-other"})
    assert problem(answer) == (422, "store-refused")


def test_a_scan_is_a_run_of_maintenance(world: World) -> None:
    made, operator = added(world), world.operator()
    scan = operator.post(f"{PATH}/{made['storeId']}/scan")
    assert scan.status_code == 202, scan.text
    run = scan.json()
    assert (run["type"], run["storeId"], run["state"]) == ("store-scan", made["storeId"], "running")
    (message,) = world.publisher.sent
    assert isinstance(message.event, ImageMaintenance)
    assert message.event.cursor == f"{made['storeId']}:list:"
    assert problem(operator.post(f"{PATH}/{made['storeId']}/scan")) == (409, "maintenance-running")
    assert operator.get(f"/v1/admin/maintenance/{run['runId']}").json() == run
    expected_run = {"tenantId": "tenant_acme", "type": "store-scan"}
    assert operator.post("/v1/admin/maintenance", json=expected_run).status_code == 422


def test_managed_needs_a_tenant_without_images_and_places_it(world: World, share: Path) -> None:
    made = added(world, mode="managed")
    assert made["prefix"] == "deeplens/"
    assert not list((share / "tenant_acme" / "scans").glob("**/*probe*/*"))
    assert world.tenants.get("tenant_acme").storage_uri == f"nfs://{made['storeId']}"
    operator, path = world.operator(), f"{PATH}/{made['storeId']}"
    assert problem(operator.post(f"{path}/scan")) == (409, "store-not-ready")
    assert operator.delete(path).status_code == 204
    assert world.tenants.get("tenant_acme").storage_uri == "s3://tenant-acme"
    world.searchable(1)
    answer = operator.post(PATH, json={"kind": "nfs", "container": "scans", "mode": "managed"})
    assert problem(answer) == (409, "tenant-has-images")


def test_where_deeplens_writes_nobody_else_looks(world: World) -> None:
    added(world, mode="managed", prefix="own")
    for prefix in ("own/images", "own", ""):
        answer = world.operator().post(PATH, json={"kind": "nfs", "container": "scans", "prefix": prefix})
        assert problem(answer) == (409, "store-taken")
    assert added(world, prefix="elsewhere")["state"] == "ready"


def test_another_tenants_stores_do_not_exist(world: World) -> None:
    made = added(world)
    thief, own = world.administrator("tenant_other"), PATH.replace("acme", "other")
    for method, rest, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/probe", None),
        ("POST", "/scan", None),
        ("POST", "/rotate", {"credentials": KEYS}),
        ("GET", "/removals", None),
        ("POST", "/removals", {"decision": "delete"}),
    ):
        for base in (PATH, own):
            answer = thief.request(method, f"{base}/{made['storeId']}{rest}", json=body)
            assert answer.status_code == 404, (method, rest)
    assert list(world.registered_stores.stores) == [made["storeId"]]
    assert world.publisher.sent == []


def test_notifications_need_the_stores_secret(world: World) -> None:
    made = added(world)
    url = f"/v1/notifications/tenant_acme/{made['storeId']}"
    blob = "/blobServices/default/containers/scans/blobs/a.jpg"
    event = [{"eventType": "Microsoft.Storage.BlobCreated", "subject": blob, "data": {}}]
    for wrong in ("?secret=x", "", f"?secret={made['eventSecret']}".replace("acme", "other")):
        if wrong.endswith(made["eventSecret"]):
            continue
        assert problem(world.anonymous().post(url + wrong, json=event)) == (404, "store-not-found")
    elsewhere = url.replace("acme", "other")
    assert world.anonymous().post(f"{elsewhere}?secret={made['eventSecret']}", json=event).status_code == 404
    assert world.publisher.sent == []
    answer = world.anonymous().post(f"{url}?secret={made['eventSecret']}", json=event)
    assert answer.json() == {"accepted": 1}
    (message,) = world.publisher.sent
    assert (message.event.maintenance_type, message.event.keys) == ("store-objects", ["a.jpg"])  # type: ignore[union-attr]
    assert world.operator().get(f"{PATH}/{made['storeId']}").json()["notifiedAt"]


def bridge_event(kind: str, key: Any, bucket: str = "scans") -> dict[str, Any]:
    """As an API destination of EventBridge sends it."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 5}, "reason": "PutObject"}
    return {"version": "0", "detail-type": kind, "source": "aws.s3", "account": "111122223333", "detail": detail}


@pytest.mark.parametrize(
    ("payload", "keys"),
    [
        ({"Records": [{"s3": {"bucket": {"name": "scans"}, "object": {"key": "a+b/%C3%B6.jpg"}}}]}, ["a b/ö.jpg"]),
        (
            {
                "specversion": "1.0",
                "type": "Microsoft.Storage.BlobDeleted",
                "subject": "/blobServices/default/containers/scans/blobs/x/y.png",
            },
            ["x/y.png"],
        ),
        (bridge_event("Object Created", "a+b/%41ö.jpg"), ["a+b/%41ö.jpg"]),
        (bridge_event("Object Deleted", "a.jpg"), ["a.jpg"]),
        (bridge_event("Object Tags Added", "a.jpg"), []),
        (bridge_event("Object Created", "a.jpg", bucket="other"), []),
        (bridge_event("Object Created", 7), []),
        (bridge_event("Object Created", "a.jpg") | {"source": "acme.photos"}, []),
        (bridge_event("Object Created", "a.jpg") | {"detail": "none"}, []),
        ({"Records": [{"s3": {"bucket": {"name": "other"}, "object": {"key": "a.jpg"}}}]}, []),
        ({"Records": [{"s3": {"bucket": {"name": "scans"}, "object": {"key": "../../a.jpg"}}}]}, []),
        ({"Records": [{"s3": {"bucket": {"name": "scans"}, "object": {"key": "notes.txt"}}}]}, []),
        ([1, None, {"eventType": 7, "subject": []}, {"s3": {}}], []),
        ("text", []),
    ],
)
def test_what_a_notification_is_about(world: World, payload: Any, keys: list[str]) -> None:
    made = added(world)
    url = f"/v1/notifications/tenant_acme/{made['storeId']}"
    headers = {"Authorization": f"Bearer {made['eventSecret']}"}
    answer = world.anonymous().post(url, json=payload, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"accepted": len(keys)})
    assert [key for message in world.publisher.sent for key in message.event.keys or []] == keys  # type: ignore[union-attr]


def test_event_grid_and_cloud_events_shake_hands(world: World) -> None:
    made = added(world)
    url = f"/v1/notifications/tenant_acme/{made['storeId']}?secret={made['eventSecret']}"
    event = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c0de"}}
    assert world.anonymous().post(url, json=[event]).json() == {"validationResponse": "c0de"}
    answer = world.anonymous().options(url, headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert world.anonymous().options(url.partition("?")[0]).status_code == 404


def test_credentials_are_kept_in_the_secret_store_alone(world: World) -> None:
    """The endpoint is a public address that these tests cannot reach, so the store is incomplete."""
    made = added(world, **BUCKET)
    assert made["state"] == "incomplete"
    assert world.secret_store.values == {f"deeplens/stores/tenant_acme/{made['storeId']}/1": json.dumps(KEYS)}
    rotated = world.operator().post(
        f"{PATH}/{made['storeId']}/rotate", json={"credentials": {**KEYS, "sessionToken": "t"}}
    )
    assert rotated.json()["credentialsVersion"] == 2
    assert list(world.secret_store.values) == [f"deeplens/stores/tenant_acme/{made['storeId']}/2"]
    visible_text = (
        json.dumps(made) + rotated.text + world.operator().get(PATH).text + repr(world.registered_stores.stores)
    )
    assert "sunflower" not in visible_text.lower()
    assert made["eventSecret"] not in rotated.text
    assert world.operator().delete(f"{PATH}/{made['storeId']}").status_code == 204
    assert world.secret_store.values == {}


GOOD = {**KEYS, "secretAccessKey": "moonflower"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A bucket that the keys of ``GOOD`` open, and no others."""
    memory = MemoryStore("s3://photos")

    def open_with(_: OpenStores, store: TenantStore, credentials: Credentials) -> ObjectStore:
        if credentials.values["secretAccessKey"] != GOOD["secretAccessKey"]:
            raise TenantStoreDenied("refused", "InvalidAccessKeyId")
        return memory

    monkeypatch.setattr(OpenStores, "open_with", open_with)
    return memory


def test_a_rotation_does_not_open_a_prefix_that_another_registration_covers(world: World, bucket: MemoryStore) -> None:
    thief, theirs = world.administrator("tenant_other"), PATH.replace("acme", "other")
    waiting = thief.post(theirs, json=BUCKET).json()
    assert waiting["state"] == "incomplete"
    assert added(world, **{**BUCKET, "credentials": GOOD}, mode="managed")["state"] == "ready"
    rows, secrets = dict(world.registered_stores.stores), dict(world.secret_store.values)

    answer = thief.post(f"{theirs}/{waiting['storeId']}/rotate", json={"credentials": GOOD})

    assert problem(answer) == (409, "store-taken")
    assert (world.registered_stores.stores, world.secret_store.values) == (rows, secrets)


@pytest.mark.parametrize("attempt", ["rotate", "probe"])
def test_what_is_refused_after_a_probe_saves_nothing(world: World, bucket: MemoryStore, attempt: str) -> None:
    made = added(world, **BUCKET, mode="managed")
    assert made["state"] == "incomplete"
    world.searchable(1)
    if attempt == "probe":
        world.secret_store.values[f"deeplens/stores/tenant_acme/{made['storeId']}/1"] = json.dumps(GOOD)
    rows, secrets = dict(world.registered_stores.stores), dict(world.secret_store.values)

    body = {"credentials": GOOD} if attempt == "rotate" else None
    answer = world.operator().post(f"{PATH}/{made['storeId']}/{attempt}", json=body)

    assert problem(answer) == (409, "tenant-has-images")
    assert (world.registered_stores.stores, world.secret_store.values) == (rows, secrets)
    assert world.tenants.get("tenant_acme").storage_uri == "s3://tenant-acme"
