"""Usage over the APIs: what requests count as, overview and export, budgets that pause uploads; and nobody else's."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from deeplens.http import cursor
from deeplens.usage import routes

from tests.harness.api import START, World, picture

BUDGETS = "/v1/admin/tenants/tenant_acme/budgets"
PAUSING = {"metric": "images.uploaded", "limit": 10, "warnPercent": [80, 50, 80], "action": "pause"}


class StandingClock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock(world: World) -> StandingClock:
    world.clock = StandingClock(START)  # type: ignore[assignment]
    return world.clock  # type: ignore[return-value]


def used(world: World, tenant_id: str, at: datetime = START, **quantities: float) -> None:
    names = {name.replace("_", "."): quantity for name, quantity in quantities.items()}
    world.usage.record([(f"{tenant_id}/{at}/{n}", tenant_id, n, q, at) for n, q in names.items()])


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def daily(world: World) -> dict[str, float]:
    found = world.client.get("/v1/usage").json()["daily"]
    return {metric: days[0]["quantity"] for metric, days in found.items()}


def test_searches_and_bytes_that_leave_are_counted(world: World, clock: StandingClock) -> None:
    image_id = world.searchable(0)
    body, path = picture(0), f"/v1/images/{image_id}"
    world.client.post("/v1/search/image", files={"file": ("q.jpg", body)})
    world.client.get(f"{path}/similar")
    world.client.get(f"{path}/similar?limit=0")  # refused
    original = world.client.get(f"{path}/content")
    small = world.client.get(f"{path}/thumbnails/small")
    world.client.get(f"{path}/content", headers={"If-None-Match": original.headers["etag"]})
    world.client.get(f"{path}/content", headers={"If-None-Match": "*"})

    assert daily(world) == {
        "api.requests": 9,
        "searches": 2,
        "egress.bytes": len(body) + len(small.content),
    }
    assert world.publisher.sent[1:] == []  # the upload's event and no other: reading publishes nothing


def test_a_link_to_a_large_file_counts_as_the_file(world: World, clock: StandingClock) -> None:
    image_id = world.searchable(0)
    size = len(picture(0))
    world.settings = world.settings.model_copy(update={"max_upload_bytes": size - 1})

    assert world.client.get(f"/v1/images/{image_id}/content").status_code == 307
    assert daily(world)["egress.bytes"] == size


def test_the_overview_is_paged_and_averages_gauges(world: World, clock: StandingClock) -> None:
    used(world, "tenant_acme", searches=4, storage_bytes=100)
    used(world, "tenant_acme", START - timedelta(days=1), searches=1, storage_bytes=300)
    used(world, "tenant_acme", START - timedelta(days=40), searches=50)
    used(world, "tenant_other", searches=2)

    operator = world.operator()
    first = operator.get("/v1/admin/usage?limit=1").json()
    second = operator.get(f"/v1/admin/usage?limit=1&after={first['next']}").json()
    third = operator.get(f"/v1/admin/usage?limit=1&after={second['next']}").json()

    assert (first["from"], first["to"]) == ("2026-10-22", "2026-11-20")
    assert first["tenants"] == [{"tenantId": "tenant_acme", "totals": {"searches": 5, "storage.bytes": 200}}]
    assert [one["tenantId"] for one in second["tenants"]] == ["tenant_other"]
    assert (third["tenants"], third["next"]) == ([], None)
    one = operator.get("/v1/admin/usage?tenant_id=tenant_other&from=2026-11-20").json()
    assert one["tenants"] == [{"tenantId": "tenant_other", "totals": {"searches": 2}}]


def test_an_export_has_the_same_columns_in_both_formats(world: World, clock: StandingClock) -> None:
    used(world, "tenant_acme", searches=4, inference_ms=12.345, storage_bytes=5e15)
    used(world, "tenant_other", api_requests=1)
    used(world, "tenant_other", START - timedelta(days=60), api_requests=7)

    table = world.operator().get("/v1/admin/usage/export?from=2026-11-01&to=2026-11-30")
    listed = world.operator().get("/v1/admin/usage/export?format=json&from=2026-11-01&to=2026-11-30")

    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.headers["content-disposition"] == 'attachment; filename="usage-2026-11-01-2026-11-30.csv"'
    assert "link" not in table.headers
    assert table.text.splitlines() == [
        "tenant_id,day,metric,quantity,unit",
        "tenant_acme,2026-11-20,inference.ms,12.345,milliseconds",
        "tenant_acme,2026-11-20,searches,4,searches",
        "tenant_acme,2026-11-20,storage.bytes,5000000000000000,bytes",
        "tenant_other,2026-11-20,api.requests,1,requests",
    ]
    assert listed.json()[1] == {
        "tenantId": "tenant_acme",
        "day": "2026-11-20",
        "metric": "searches",
        "quantity": 4,
        "unit": "searches",
    }
    assert len(listed.json()) == 4


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_long_export_comes_in_parts(
    world: World, clock: StandingClock, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(routes, "MAX_ROWS", 3)
    for day in range(7):
        used(world, "tenant_acme", START - timedelta(days=day), searches=day + 1)
    operator, found = world.operator(), []
    path: str | None = f"/v1/admin/usage/export?format={form}&to=2026-11-20&tenant_id=tenant_acme"
    while path:
        answer = operator.get(path)
        rows = csv.DictReader(io.StringIO(answer.text)) if form == "csv" else json.loads(answer.text)
        found.append([float(row["quantity"]) for row in rows])
        path = answer.links["next"]["url"] if answer.links else None

    assert found == [[7, 6, 5], [4, 3, 2], [1]]


@pytest.mark.parametrize("query", ["cursor=%00", "cursor=WzFd", "cursor=WyJhIiwiYiIsImMiXQ", "format=xml", "from=x"])
def test_odd_exports_are_refused(world: World, query: str) -> None:
    assert problem(world.operator().get(f"/v1/admin/usage/export?{query}")) == (422, "invalid-request")


def test_a_tenants_administrator_sees_itself_only(world: World, clock: StandingClock) -> None:
    used(world, "tenant_acme", searches=4)
    used(world, "tenant_other", searches=77)
    administrator = world.administrator("tenant_acme")

    assert [entry["tenantId"] for entry in administrator.get("/v1/admin/usage").json()["tenants"]] == ["tenant_acme"]
    table = administrator.get("/v1/admin/usage/export").text
    assert "tenant_acme" in table
    assert "tenant_other" not in table
    for path in ("/v1/admin/usage?tenant_id=tenant_other", "/v1/admin/usage/export?tenant_id=tenant_other"):
        assert problem(administrator.get(path)) == (404, "tenant-not-found")
    position = cursor.write(("tenant_o", START.date(), ""))
    assert "tenant_other" not in administrator.get(f"/v1/admin/usage/export?cursor={position}").text


def test_budgets_are_set_shown_and_removed(world: World, clock: StandingClock) -> None:
    used(world, "tenant_acme", images_uploaded=8)
    administrator = world.administrator("tenant_acme")

    answer = administrator.put(BUDGETS, json={"budgets": [PAUSING, {"metric": "searches", "limit": 0.5}]})

    assert answer.status_code == 200
    assert answer.json() == {
        "budgets": [
            {
                "metric": "images.uploaded",
                "limit": 10,
                "warnPercent": [50, 80],
                "action": "pause",
                "month": "2026-11",
                "unit": "images",
                "used": 8,
                "percent": 80,
            },
            {
                "metric": "searches",
                "limit": 0.5,
                "warnPercent": [80],
                "action": "warn",
                "month": "2026-11",
                "unit": "searches",
                "used": 0,
                "percent": 0,
            },
        ],
        "uploadsPausedUntil": None,
    }
    assert administrator.get(BUDGETS).json() == answer.json()
    shown = world.client.get("/v1/usage").json()
    assert {name: shown[name] for name in answer.json()} == answer.json()
    assert world.client_of(world.other).get("/v1/usage").json()["budgets"] == []
    assert administrator.delete(BUDGETS).status_code == 204
    assert administrator.get(BUDGETS).json()["budgets"] == []


def test_an_exhausted_budget_pauses_uploads_until_the_next_month(world: World, clock: StandingClock) -> None:
    kept = world.upload(key="before").json()
    used(world, "tenant_acme", images_uploaded=10)

    answer = world.operator().put(BUDGETS, json={"budgets": [PAUSING]}).json()
    refused = world.upload()

    assert answer["uploadsPausedUntil"] == "2026-12-01T00:00:00Z"
    assert problem(refused) == (429, "budget-exhausted")
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    assert int(refused.headers["retry-after"]) == (midnight - START).total_seconds()
    assert "images.uploaded" in refused.json()["detail"]
    assert [path for path in world.stored() if path.startswith("images/")] == [f"images/{kept['imageId']}.jpg"]
    assert world.upload(key="before").status_code == 202  # a repeat is no upload
    assert world.client.get("/v1/images").status_code == 200
    assert world.client.post("/v1/search/image", files={"file": ("q.jpg", picture())}).status_code == 200
    assert world.client_of(world.other).post("/v1/images", files={"file": picture()}).status_code == 202
    clock.at = midnight - timedelta(seconds=1)
    assert world.upload().headers["retry-after"] == "1"
    clock.at = midnight
    assert world.upload().status_code == 202


@pytest.mark.parametrize(
    "change", [{"budgets": [PAUSING | {"limit": 11}]}, {"budgets": [PAUSING | {"action": "warn"}]}, {"budgets": []}]
)
def test_a_budget_that_is_raised_or_removed_lets_uploads_go_on(
    world: World, clock: StandingClock, change: dict[str, Any]
) -> None:
    used(world, "tenant_acme", images_uploaded=10)
    world.operator().put(BUDGETS, json={"budgets": [PAUSING]})
    assert world.upload().status_code == 429

    world.operator().put(BUDGETS, json=change)

    assert world.upload().status_code == 202


@pytest.mark.parametrize(
    "budgets",
    [
        [{"metric": "searches", "limit": 0}],
        [{"metric": "searches", "limit": -1}],
        [{"metric": "searches", "limit": "NaN"}],
        [{"metric": "nothing", "limit": 1}],
        [{"metric": "searches", "limit": 1, "warnPercent": [0]}],
        [{"metric": "searches", "limit": 1, "warnPercent": [100]}],
        [{"metric": "searches", "limit": 1, "action": "explode"}],
        [{"metric": "searches", "limit": 1}, {"metric": "searches", "limit": 2}],
    ],
)
def test_odd_budgets_are_refused(world: World, budgets: list[dict[str, Any]]) -> None:
    assert problem(world.operator().put(BUDGETS, json={"budgets": budgets})) == (422, "invalid-request")


def test_budgets_of_another_tenant_do_not_exist(world: World) -> None:
    thief = world.administrator("tenant_other")
    for method in ("GET", "PUT", "DELETE"):
        answer = thief.request(method, BUDGETS, json={"budgets": []})
        assert problem(answer) == (404, "tenant-not-found")
