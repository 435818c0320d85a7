"""The Admin API creates a tenant, resumes after a crash, changes it, and deletes it with a receipt."""

from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from deeplens.access.scopes import ADMIN, API_SCOPES
from deeplens.bootstrap.container import Container
from deeplens.database.connections import connect
from deeplens.errors import SecretNotFound, StoreNotOwned
from deeplens.provisioning.settle import BUDGET_SECONDS, SettleTenants
from deeplens.storage.directory import MARK
from deeplens.tenants.model import Tenant

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, picture

EVERY_MINUTE = {"time": "2026-11-20T10:30:00Z"}


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


def created(admin: httpx.Client, tenant_id: str, **more: Any) -> dict[str, Any]:
    answer = admin.post("/tenants", json={"tenantId": tenant_id, "name": "Somebody"} | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def client_of(stack: Stack, parts: Container, admin: httpx.Client, tenant_id: str) -> TenantClient:
    key = admin.post(f"/tenants/{tenant_id}/keys", json={"name": "tests"}).json()["key"]
    http = httpx.Client(base_url=f"{stack.api_url}/v1", headers={"X-API-Key": key}, timeout=60, trust_env=False)
    return TenantClient(http, parts.tenants.get(tenant_id, fresh=True), parts)


def make_older(parts: Container, tenant_id: str) -> None:
    with parts.connections.platform() as connection:
        connection.execute(
            "UPDATE tenants SET status_since = status_since - interval '1 minute' WHERE id = %s", [tenant_id]
        )


def databases(parts: Container) -> set[str]:
    with connect(parts.connections.platform_url) as connection:
        return {row["datname"] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}


def collections(tenant: Tenant) -> set[str]:
    listed = httpx.get(f"{tenant.qdrant_url}/collections").json()["result"]["collections"]
    return {collection["name"] for collection in listed}


def test_a_created_tenant_works_at_once(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    made = created(admin, "tenant_new", settings={"colour": "green"})

    assert (made["status"], made["settings"]) == ("active", {"colour": "green"})
    assert set(made["progress"]) == {"database", "store", "collection"}
    client = client_of(stack, parts, admin, "tenant_new")
    image_id = client.completed(picture(1))
    assert client.search(picture(1))[0]["imageId"] == image_id
    assert admin.post("/tenants", json={"tenantId": "tenant_new", "name": "Again"}).status_code == 409
    assert "tenant_new" in [
        entry["tenantId"] for entry in admin.get("/tenants", params={"status": "active"}).json()["tenants"]
    ]
    renamed = admin.patch("/tenants/tenant_new", json={"name": "Renamed"}).json()
    assert (renamed["name"], renamed["settings"]) == ("Renamed", {"colour": "green"})


def half_made(parts: Container, tenant_id: str) -> None:
    """Create the state that a crash after the first step leaves."""
    with parts.connections.platform() as connection:
        connection.execute(
            "INSERT INTO tenants (id, name, database_name, storage_uri, model_name, model_version, model_dimensions) "
            "VALUES (%s, 'Half', %s, %s, 'deeplens-visual', '2', 512)",
            [tenant_id, f"deeplens_{tenant_id}", f"nfs://{tenant_id.replace('_', '-')}"],
        )


def test_a_creation_that_stopped_half_way_is_finished_by_a_repeat(parts: Container, admin: httpx.Client) -> None:
    half_made(parts, "tenant_half")
    assert admin.get("/tenants/tenant_half").json()["status"] == "provisioning"

    assert created(admin, "tenant_half")["status"] == "active"


def test_a_creation_that_stopped_half_way_is_finished_by_the_clock(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    half_made(parts, "tenant_half_two")
    make_older(parts, "tenant_half_two")

    assert stack.runner is not None
    stack.runner.invoke("on_administration_schedule", EVERY_MINUTE)

    eventually(lambda: admin.get("/tenants/tenant_half_two").json()["status"], lambda status: status == "active")


def test_a_deleted_tenant_is_gone_everywhere_and_leaves_a_receipt(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    created(admin, "tenant_gone")
    client = client_of(stack, parts, admin, "tenant_gone")
    client.completed(picture(2))
    person = {"email": "gone@example.com", "name": "Gone", "roles": ["viewer"], "password": "a long enough one"}
    assert admin.post("/tenants/tenant_gone/users", json=person).status_code == 201
    stored = len(client.objects())
    assert stored >= 3
    assert f"deeplens_{client.tenant.id}" in databases(parts)
    assert client.tenant.collection in collections(client.tenant)

    begun = admin.delete("/tenants/tenant_gone")
    assert (begun.status_code, begun.json()["status"]) == (202, "deleting")
    refused = eventually(lambda: client.http.get("/images"), lambda answer: answer.status_code == 403, seconds=15)
    assert refused.json()["type"] == "/problems/tenant-not-found"
    make_older(parts, "tenant_gone")
    assert stack.runner is not None
    stack.runner.invoke("on_administration_schedule", EVERY_MINUTE)
    gone = eventually(lambda: admin.get("/tenants/tenant_gone").json(), lambda image: image["status"] == "deleted")

    receipt = gone["progress"]
    assert receipt["objects"] == {"objects": stored}
    assert receipt["vectors"] == {"collections": 1}
    assert (receipt["records"]["users"], receipt["records"]["keys"]) == (1, 1)
    assert receipt["completedAt"]
    assert gone["name"] == ""
    assert f"deeplens_{client.tenant.id}" not in databases(parts)
    assert client.tenant.collection not in collections(client.tenant)
    assert not (stack.state_dir / "objects" / "tenant-gone").exists()
    assert client.http.get("/images").status_code in (401, 403)
    assert admin.post("/tenants", json={"tenantId": "tenant_gone", "name": "Again"}).status_code == 409
    assert admin.delete("/tenants/tenant_gone").json()["status"] == "deleted"


def test_the_credentials_of_a_customers_database_server_are_in_the_secret_store_until_the_tenant_is_deleted(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    password, host = "of-the-customer", urlsplit(parts.connections.admin_url).netloc.rpartition("@")[2]
    with connect(parts.connections.admin_url) as connection:
        connection.execute(f"CREATE ROLE customer LOGIN SUPERUSER PASSWORD '{password}'")
    malformed = {"databaseServer": f"http://customer:{password}@{host}/"}
    answer = admin.post("/tenants", json={"tenantId": "tenant_served", "name": "A", "placement": malformed})
    assert (answer.status_code, password in answer.text) == (422, False)

    server = {"databaseServer": f"postgresql://customer:{password}@{host}/postgres"}
    tenant = created(admin, "tenant_served", placement=server)
    assert tenant["placement"]["ownDatabaseServer"] is True
    client_of(stack, parts, admin, "tenant_served").completed(picture(3))
    seen = [admin.get(path).text for path in ("/tenants", "/tenants/tenant_served", "/tenants/tenant_served/audit")]
    with parts.connections.platform() as connection:
        for table in ("tenants", "audit_log"):
            seen += [str(row) for row in connection.execute(f"SELECT * FROM {table}".encode()).fetchall()]
    assert [text for text in seen if password in text] == []
    assert password in parts.secret_store.get("deeplens/databases/tenant_served")

    admin.delete("/tenants/tenant_served")
    make_older(parts, "tenant_served")
    assert stack.runner is not None
    stack.runner.invoke("on_administration_schedule", EVERY_MINUTE)
    eventually(lambda: admin.get("/tenants/tenant_served").json()["status"], lambda status: status == "deleted")
    assert "deeplens_tenant_served" not in databases(parts)
    with pytest.raises(SecretNotFound):
        parts.secret_store.get("deeplens/databases/tenant_served")


def test_a_deletion_goes_on_where_it_ran_out_of_time(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    """``on_administration_schedule`` has less than a minute; a bucket may have millions of objects."""
    created(admin, "tenant_large")
    client = client_of(stack, parts, admin, "tenant_large")
    store = parts.stores.for_tenant(client.tenant)
    for number in range(5):
        store.put(f"files/{number}", b"x", "text/plain")
    admin.delete("/tenants/tenant_large")
    make_older(parts, "tenant_large")
    ticks = iter([0.0, BUDGET_SECONDS + 1])

    parts.build(partial(SettleTenants, monotonic=lambda: next(ticks)))()
    halfway = admin.get("/tenants/tenant_large").json()
    parts.build(SettleTenants).settle("tenant_large")
    over = admin.get("/tenants/tenant_large").json()

    assert (halfway["status"], halfway["progress"]["objectsSoFar"]) == ("deleting", 5)
    assert (over["status"], over["progress"]["objects"]) == ("deleted", {"objects": 5})


def test_a_tenant_whose_bucket_may_be_anothers_is_not_deleted_from_it(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    created(admin, "tenant_shared")
    store = parts.stores.for_tenant(client_of(stack, parts, admin, "tenant_shared").tenant)
    store.put("images/img_theirs.jpg", b"original", "image/jpeg")
    mark = stack.state_dir / "objects" / "tenant-shared" / MARK
    mark.write_text("another installation")
    admin.delete("/tenants/tenant_shared")

    with pytest.raises(StoreNotOwned):
        parts.build(SettleTenants).settle("tenant_shared")
    assert store.get("images/img_theirs.jpg") == b"original"
    assert admin.get("/tenants/tenant_shared").json()["status"] == "deleting"

    parts.provisioning.adopt_store("tenant_shared", replacing="another installation")
    parts.build(SettleTenants).settle("tenant_shared")
    assert admin.get("/tenants/tenant_shared").json()["status"] == "deleted"
    assert not mark.parent.exists()


def test_a_tenant_does_not_get_a_bucket_that_is_there_already(stack: Stack, admin: httpx.Client) -> None:
    bucket = stack.state_dir / "objects" / "tenant-squatted"
    bucket.mkdir()
    answer = admin.post("/tenants", json={"tenantId": "tenant_squatted", "name": "Somebody"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/store-not-owned")
    assert "deeplens tenants adopt" in answer.json()["detail"]
    bucket.rmdir()
    assert created(admin, "tenant_squatted")["status"] == "active"


def test_a_key_is_rotated_without_downtime(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    created(admin, "tenant_keys")
    old = admin.post("/tenants/tenant_keys/keys", json={"name": "importer", "scopes": ["deeplens.api.read"]}).json()
    new = admin.post(f"/tenants/tenant_keys/keys/{old['prefix']}/rotate", json={"overlapHours": 1}).json()

    def status(key: str) -> int:
        return httpx.get(f"{stack.api_url}/v1/images", headers={"X-API-Key": key}).status_code

    assert (new["name"], new["scopes"], new["expiresAt"]) == ("importer", ["deeplens.api.read"], None)
    assert (status(old["key"]), status(new["key"])) == (200, 200)
    live = {key["prefix"]: key["expiresAt"] for key in admin.get("/tenants/tenant_keys/keys").json()["keys"]}
    assert live[old["prefix"]] is not None
    assert admin.delete(f"/tenants/tenant_keys/keys/{old['prefix']}").status_code == 204
    eventually(lambda: status(old["key"]), lambda found: found == 401, seconds=15)
    assert status(new["key"]) == 200


def test_a_tenants_administrator_gives_no_more_than_they_have(
    stack: Stack, parts: Container, admin: httpx.Client
) -> None:
    created(admin, "tenant_own")
    key = parts.api_keys.create("tenant_own", "admin only", (ADMIN,))
    base = f"{stack.api_url}/v1/admin/tenants/tenant_own"
    with httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=60, trust_env=False) as own:
        person = {"email": "own@example.com", "name": "Own", "password": "a long enough one"}
        for roles, status in ((["editor"], 403), (["platform_admin"], 422), (["no_such_role"], 422)):
            assert own.post("/users", json=person | {"roles": roles}).status_code == status
        assert own.post("/keys", json={"name": "writer"}).status_code == 403
        assert own.post("/keys", json={"name": "admin", "scopes": [ADMIN]}).status_code == 201
        app = {"name": "app", "grants": ["client_credentials"], "scopes": ["deeplens.api.write"]}
        assert own.post("/clients", json=app).status_code == 403


def test_only_an_operator_waives_consent(stack: Stack, parts: Container, admin: httpx.Client) -> None:
    created(admin, "tenant_waiver")
    key = parts.api_keys.create("tenant_waiver", "administrator", tuple(API_SCOPES))
    app = {
        "name": "app",
        "grants": ["authorization_code"],
        "scopes": ["deeplens.api.read"],
        "redirectUris": ["https://app.example.com/cb"],
        "needsConsent": False,
    }
    address = f"{stack.api_url}/v1/admin/tenants/tenant_waiver/clients"

    refused = httpx.post(address, headers={"X-API-Key": key}, json=app)
    asking = httpx.post(address, headers={"X-API-Key": key}, json=app | {"needsConsent": True})
    waived = admin.post("/tenants/tenant_waiver/clients", json=app)

    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/consent-waiver-not-allowed")
    assert refused.headers["content-type"] == "application/problem+json"
    assert [(one.status_code, one.json()["needsConsent"]) for one in (asking, waived)] == [(201, True), (201, False)]
    clients = admin.get("/tenants/tenant_waiver/clients").json()["clients"]
    assert {client["clientId"] for client in clients} == {asking.json()["clientId"], waived.json()["clientId"]}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"confidential": False}, "client-not-possible"),
        ({"grants": ["authorization_code"]}, "client-not-possible"),
        ({"redirectUris": ["https://app.example.com/cb"]}, "client-not-possible"),
        ({"grants": ["refresh_token"]}, "client-not-possible"),
        ({"grants": ["authorization_code"], "redirectUris": ["http://app.example.com/cb"]}, "invalid-request"),
        ({"grants": ["authorization_code"], "redirectUris": ["https://app.example.com/cb#x"]}, "invalid-request"),
        ({"grants": ["authorization_code"], "redirectUris": ["javascript:alert(1)"]}, "invalid-request"),
    ],
)
def test_a_client_that_could_not_work_safely_is_refused(admin: httpx.Client, change: dict[str, Any], code: str) -> None:
    app = {"name": "app", "grants": ["client_credentials"], "scopes": ["deeplens.api.read"]} | change
    answer = admin.post("/clients", json=app)
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{code}")


def test_every_write_is_in_the_audit_log_and_stays_there(parts: Container, admin: httpx.Client) -> None:
    created(admin, "tenant_watched")
    person = {"email": "watched@example.com", "name": "W", "roles": ["viewer"], "password": "a secret word"}
    user = admin.post("/tenants/tenant_watched/users", json=person).json()
    admin.patch(f"/tenants/tenant_watched/users/{user['userId']}", json={"status": "disabled"})
    admin.delete("/tenants/tenant_watched/users/usr_nobody")
    entries = admin.get("/tenants/tenant_watched/audit").json()["entries"]

    audited = [(entry["action"].removesuffix("}").split(" ")[0], entry["outcome"]) for entry in reversed(entries)]
    assert audited == [
        ("POST", "begun"), ("POST", "done"),
        ("POST", "begun"), ("POST", "done"),
        ("PATCH", "begun"), ("PATCH", "done"),
        ("DELETE", "begun"), ("DELETE", "user-not-found"),
    ]  # fmt: skip
    assert "a secret word" not in str(entries)
    assert entries[-3]["detail"]["password"] == "…"
    assert {entry["actor"] for entry in entries} == {entries[0]["actor"]}
    assert {entry["networkAddress"] for entry in entries} == {"127.0.0.1"}
    large = admin.patch("/tenants/tenant_watched", json={"settings": {"note": "n" * 20_000}})
    kept = admin.get("/tenants/tenant_watched/audit").json()["entries"][1]["detail"]
    assert kept == {"bodyBytes": len(large.request.content), "bodySha256": sha256(large.request.content).hexdigest()}
    for statement in ("UPDATE audit_log SET actor = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with parts.connections.platform() as connection, pytest.raises(psycopg.errors.RaiseException):
            connection.execute(statement)


def test_the_parts_are_asked_for_their_health(admin: httpx.Client) -> None:
    found = admin.get("/parts").json()
    assert found["healthy"]
    assert {part["part"] for part in found["parts"]} == {"database", "index", "broker", "inference"}


NUL = "a\u0000b"
ODD: dict[str, dict[str, Any]] = {
    "/tenants": {"tenantId": "tenant_odd_characters", "name": NUL},
    "/tenants/{}/stores": {"kind": "nfs", "container": NUL},
    "/tenants/{}/stores ": {"kind": "nfs", "container": "photos", "prefix": NUL},
    "/tenants/{}/webhooks": {"url": f"https://hooks.example/{NUL}", "events": ["image.completed"]},
    "/tenants/{}/whatsapp/chats": {"chatJid": "491511234567@s.whatsapp.net", "name": NUL},
    "/tenants/{}/whatsapp/rules": {"name": NUL, "action": "ingest", "tags": [NUL], "text": NUL},
    "/tenants/{}/keys": {"name": NUL},
    "/tenants/{}/clients": {"name": NUL, "redirectUris": []},
    "/tenants/{}/users": {
        "email": "odd@example.com",
        "name": NUL,
        "roles": ["viewer"],
        "password": f"{NUL} long password",
    },
    "/dead-letters/dlq_none/discard": {"reason": NUL},
}


@pytest.fixture(scope="module")
def odd(admin: httpx.Client) -> str:
    return str(created(admin, "tenant_odd")["tenantId"])


@pytest.mark.parametrize("path", ODD)
def test_characters_that_no_database_takes_are_never_our_fault(admin: httpx.Client, odd: str, path: str) -> None:
    answer = admin.post(path.strip().format(odd), json=ODD[path])
    assert answer.status_code < 500, answer.text
    assert answer.is_success or answer.headers["content-type"] == "application/problem+json"


def test_a_notification_for_no_tenant_at_all_is_refused(stack: Stack) -> None:
    answer = httpx.post(f"{stack.api_url}/v1/notifications/%00/sto_x?secret=a", json={}, trust_env=False)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/store-not-found")
