"""Maintenance over the Admin API, and receipts of deletions: who may see and start what."""

from datetime import timedelta

import pytest
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.remove import DeleteImages
from deeplens.maintenance.model import Finding, report_of

from tests.harness.api import World

PATH = "/v1/admin/maintenance"
WANTED = {"tenantId": "tenant_acme", "type": "sweep"}


def test_a_run_is_started_once_and_shown(world: World) -> None:
    operator = world.operator()
    answer = operator.post(PATH, json=WANTED | {"dryRun": True})
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["state"], run["dryRun"], run["found"]) == ("running", True, {})
    (message,) = world.publisher.sent
    assert isinstance(message.event, ImageMaintenance)
    assert (message.event.maintenance_type, message.event.job) == ("sweep", run["runId"])
    assert operator.post(PATH, json=WANTED).json()["type"] == "/problems/maintenance-running"
    assert operator.post(PATH, json=WANTED | {"type": "storage-optimisation"}).status_code == 202
    assert operator.get(f"{PATH}/{run['runId']}").json() == run
    assert len(operator.get(PATH, params={"tenant_id": "tenant_acme"}).json()["runs"]) == 2
    assert operator.get(PATH, params={"tenant_id": "tenant_other"}).json() == {"runs": []}


def test_a_report_is_shown_as_it_stands(world: World) -> None:
    operator = world.operator()
    run_id = operator.post(PATH, json=WANTED).json()["runId"]
    run = world.maintenance_runs.runs[run_id]
    report = report_of("rows", 9, [Finding("row-without-vector", "img_1", "m 1")], repaired=True, freed=5)
    world.maintenance_runs.move(run.moved("end", report, run.due, run.due), "")
    shown = operator.get(f"{PATH}/{run_id}").json()
    assert (shown["state"], shown["checked"], shown["bytesFreed"]) == ("ended", {"rows": 9}, 5)
    assert shown["repaired"] == {"row-without-vector": 1}
    assert shown["examples"] == [{"kind": "row-without-vector", "subject": "img_1", "detail": "m 1"}]


def test_a_tenants_own_administrator_reaches_its_own_runs_only(world: World) -> None:
    acme, other = world.administrator("tenant_acme"), world.administrator("tenant_other")
    run_id = acme.post(PATH, json=WANTED).json()["runId"]
    assert other.post(PATH, json=WANTED).status_code == 404
    assert other.get(f"{PATH}/{run_id}").status_code == 404
    assert other.get(PATH).json() == other.get(PATH, params={"tenant_id": "tenant_acme"}).json() == {"runs": []}
    assert [run["runId"] for run in acme.get(PATH).json()["runs"]] == [run_id]


@pytest.mark.parametrize(
    "wanted",
    [
        WANTED | {"type": "defragment"},
        WANTED | {"tenantId": "acme"},
        WANTED | {"force": True},
        {"type": "sweep"},
    ],
)
def test_what_is_not_understood_starts_nothing(world: World, wanted: dict[str, object]) -> None:
    assert world.operator().post(PATH, json=wanted).status_code == 422
    assert world.maintenance_runs.runs == {}


def test_a_lost_event_does_not_lose_the_run(world: World) -> None:
    world.publisher.away = 1
    run_id = world.operator().post(PATH, json=WANTED).json()["runId"]
    now = world.clock.now() + timedelta(minutes=6)
    assert [run.id for run in world.maintenance_runs.overdue(now, now, 10)] == [run_id]


def test_a_receipt_proves_what_a_deletion_removed(world: World) -> None:
    image_id = world.searchable(1)
    path = f"/v1/images/{image_id}/receipt"
    assert world.client.get(path).json()["type"] == "/problems/image-not-deleted"
    assert world.client.delete(f"/v1/images/{image_id}").status_code == 202
    assert world.client.get(path).json()["status"] == "deleting"
    (event,) = [m.event for m in world.publisher.sent if isinstance(m.event, ImageMaintenance)]
    DeleteImages(world.stores, world.images, world.index, world.clock)(world.acme, [event])
    receipt = world.client.get(path).json()
    assert (receipt["status"], receipt["vectors"], receipt["models"]) == ("deleted", 1, ["deeplens-visual 1"])
    assert receipt["objects"] == [f"images/{image_id}.jpg", f"processed/{image_id}.jpg"]
    assert receipt["rowRemoved"] is True
    assert receipt["requestedAt"] < receipt["completedAt"]
    assert world.client.get(f"/v1/images/{image_id}").status_code == 404


def test_receipts_of_other_tenants_are_unknown(world: World) -> None:
    image_id = world.searchable(1)
    world.mark_deleted(image_id)
    assert world.client_of(world.other).get(f"/v1/images/{image_id}/receipt").status_code == 404
    assert world.client.get("/v1/images/img_unknown/receipt").status_code == 404
