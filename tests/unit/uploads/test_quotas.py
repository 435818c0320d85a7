"""Limits over HTTP: rates, quotas, file sizes; each is its tenant's own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from deeplens.errors import DatabaseUnavailable
from deeplens.events.images import ImageUploaded
from deeplens.tenants.limits import ResourceLimits, Storage
from deeplens.tenants.model import Tenant

from tests.harness.api import START, World, picture, tenant

SIZE = len(picture())


class StandingClock:
    """The time that a test says it is."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock(world: World) -> StandingClock:
    world.clock = StandingClock(START + timedelta(seconds=17))  # type: ignore[assignment]
    return world.clock  # type: ignore[return-value]


def limit(world: World, **limits: int) -> Tenant:
    world.acme = replace(world.acme, limits=ResourceLimits(**limits))
    world.tenants.add(world.acme)
    return world.acme


def statuses(answers: Sequence[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_beyond_the_rate_is_429_with_the_time_to_wait(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=2)

    first, second, third = (world.client.get("/v1/images") for _ in range(3))

    assert statuses([first, second, third]) == [200, 200, 429]
    assert [answer.headers["ratelimit"] for answer in (first, second, third)] == [
        '"requests";r=1;t=43',
        '"requests";r=0;t=43',
        '"requests";r=0;t=43',
    ]
    assert {answer.headers["ratelimit-policy"] for answer in (first, second, third)} == {'"requests";q=2;w=60'}
    assert third.headers["retry-after"] == "43"
    assert third.headers["content-type"] == "application/problem+json"
    assert third.json()["type"] == "/problems/rate-limited"
    assert "2 requests per minute" in third.json()["detail"]


def test_the_next_minute_begins_anew_at_its_border(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=1)
    clock.at = START + timedelta(seconds=59, microseconds=999_999)
    assert statuses([world.client.get("/v1/images") for _ in range(2)]) == [200, 429]
    assert world.client.get("/v1/images").headers["retry-after"] == "1"

    clock.at = START + timedelta(seconds=60)
    fresh = world.client.get("/v1/images")

    assert (fresh.status_code, fresh.headers["ratelimit"]) == (200, '"requests";r=0;t=60')


def test_a_busy_tenant_leaves_the_others_alone(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=1)
    other = world.client_of(world.other)

    answers = [client.get("/v1/images") for _ in range(3) for client in (world.client, other)]

    assert statuses(answers) == [200, 200, 429, 200, 429, 200]
    assert "ratelimit" not in other.get("/v1/images").headers


def test_all_keys_of_a_tenant_share_its_rate(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=1)

    assert statuses([world.client_of(world.acme).get("/v1/images") for _ in range(2)]) == [200, 429]


def test_refusals_count_and_tell_the_rate_too(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=9)
    reader = world.client_of(world.acme, "deeplens.api.read")

    answers = [
        reader.get("/v1/images/img_nobodys"),
        reader.post("/v1/images", files={"file": picture()}),
        reader.get("/v1/images?limit=0"),
    ]

    assert statuses(answers) == [404, 403, 422]
    assert [answer.headers["ratelimit"] for answer in answers] == [f'"requests";r={left};t=43' for left in (8, 7, 6)]


def test_what_is_beyond_the_rate_does_nothing(world: World, clock: StandingClock) -> None:
    limit(world, requests_per_minute=1)
    world.client.get("/v1/images")

    assert world.upload().status_code == 429
    assert world.stored() == world.publisher.sent == []


def test_callers_without_a_good_key_are_counted_for_nobody(world: World) -> None:
    world.anonymous({"X-API-Key": "dl_wrong"}).get("/v1/images")
    world.client_of(tenant("fading", "suspended")).get("/v1/images")
    world.anonymous().get("/v1/health")

    assert world.request_counters.minutes == {}


def test_requests_of_unlimited_tenants_are_counted_as_well(world: World, clock: StandingClock) -> None:
    for _ in range(3):
        world.client.get("/v1/images")

    assert world.request_counters.minutes == {("tenant_acme", START): {"api.requests": 3}}


def test_nobody_is_refused_because_the_counter_is_away(world: World) -> None:
    def away(*_: object, **__: object) -> int:
        raise DatabaseUnavailable("platform")

    limit(world, requests_per_minute=1)
    image_id = world.searchable(0)
    world.request_counters.count = world.request_counters.add = away  # type: ignore[method-assign]

    paths = ["/v1/images", f"/v1/images/{image_id}/content", f"/v1/images/{image_id}/similar"]
    assert statuses([world.client.get(path) for path in paths]) == [200] * 3


def test_the_platforms_default_counts_for_tenants_without_a_limit() -> None:
    world = World(default_requests_per_minute=1, default_max_images=1)
    limit(world, requests_per_minute=0)

    assert statuses([world.client.get("/v1/images") for _ in range(3)]) == [200] * 3
    assert statuses([world.upload(), world.upload()]) == [202, 413]
    assert 429 in statuses([world.client_of(world.other).get("/v1/images") for _ in range(9)])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_images": 2}, "may keep 2 images and has 2"),
        ({"max_bytes": 2 * SIZE + 1}, f"may store {2 * SIZE + 1} bytes and has {2 * SIZE}; this file: {SIZE}"),
    ],
    ids=["images", "bytes"],
)
def test_an_upload_beyond_a_quota_is_refused_and_leaves_nothing(
    world: World, limits: dict[str, int], said: str
) -> None:
    limit(world, **limits)
    kept = [world.upload().json()["imageId"] for _ in range(2)]
    objects = world.stored()

    refused = world.upload(key="third")

    assert (refused.status_code, refused.json()["type"]) == (413, "/problems/quota-exceeded")
    assert said in refused.json()["detail"]
    assert "Delete images" in refused.json()["detail"]
    assert world.stored() == objects
    assert [message.event.image_id for message in world.publisher.sent] == kept
    assert sorted(image_id for _, image_id in world.pending._rows) == sorted(kept)
    assert world.client_of(world.other).post("/v1/images", files={"file": picture()}).status_code == 202


def test_uploads_say_what_is_left(world: World) -> None:
    limit(world, max_images=2, max_bytes=10 * SIZE)

    answers = [world.upload(), world.upload(), world.upload()]

    assert [answer.headers["x-quota-images-remaining"] for answer in answers] == ["1", "0", "0"]
    assert [answer.headers["x-quota-bytes-remaining"] for answer in answers] == [str(n * SIZE) for n in (9, 8, 8)]
    unlimited = world.client_of(world.other).post("/v1/images", files={"file": picture()})
    assert not [name for name in unlimited.headers if name.startswith("x-quota")]


def test_a_repeat_is_no_second_image_even_when_the_quota_is_full(world: World) -> None:
    limit(world, max_images=1)
    first, again = world.upload(key="k1"), world.upload(key="k1")

    assert statuses([first, again, world.upload(key="k2")]) == [202, 202, 413]
    assert again.json() == first.json()
    assert again.headers["x-quota-images-remaining"] == "0"


def test_a_refused_key_works_once_there_is_room(world: World) -> None:
    limit(world, max_images=1)
    first = world.upload().json()["imageId"]
    assert world.upload(key="k1").status_code == 413

    world.mark_deleted(first)
    assert world.upload(key="k1").status_code == 413  # its files still stand
    world.images.delete_rows(world.acme, {first: {}})

    assert world.upload(key="k1").status_code == 202


def test_a_raised_limit_admits_at_once_and_a_lowered_one_keeps_what_is_stored(world: World) -> None:
    limit(world, max_images=1)
    assert statuses([world.upload(), world.upload()]) == [202, 413]
    limit(world, max_images=2)
    assert world.upload().status_code == 202
    limit(world, max_images=1)

    assert world.upload().status_code == 413
    assert len(world.client.get("/v1/images").json()["images"]) == 2


@pytest.mark.parametrize("key", [None, "k2"])
def test_an_upload_that_comes_too_late_for_the_last_place_takes_back_what_it_wrote(
    world: World, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(world, max_images=1)
    first = world.upload().json()["imageId"]
    objects, totals = world.stored(), world.images.totals
    answers = iter([Storage()])
    monkeypatch.setattr(world.images, "totals", lambda tenant: next(answers, None) or totals(tenant))

    late = world.upload(key=key)

    assert (late.status_code, late.json()["type"]) == (413, "/problems/quota-exceeded")
    assert world.stored() == objects
    assert [message.event.image_id for message in world.publisher.sent] == [first]
    assert [image_id for _, image_id in world.pending._rows] == [first]


def test_a_late_upload_gives_its_place_in_the_window_to_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it was under way it stood in the window, so another one may have begun to wait for it."""
    limit(world, max_images=1)
    world.upload()
    waiting = world.publisher.sent[0].event.model_copy(update={"image_id": "img_waiting"})
    assert isinstance(waiting, ImageUploaded)
    world.pending._window = 2
    totals, put = world.images.totals, world.stores.for_tenant(world.acme).put
    answers = iter([Storage()])
    monkeypatch.setattr(world.images, "totals", lambda tenant: next(answers, None) or totals(tenant))

    def put_while_another_waits(*given: Any) -> None:
        assert not world.pending.admit(waiting, world.clock.now()).released
        put(*given)

    monkeypatch.setattr(world.stores.for_tenant(world.acme), "put", put_while_another_waits)

    assert world.upload().status_code == 413
    assert world.publisher.sent[-1].event.image_id == "img_waiting"


def test_the_same_key_sent_twice_at_once_keeps_the_image_of_the_one_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(world, max_images=1)
    first = world.upload().json()["imageId"]
    totals, finish = world.images.totals, world.pending.finish
    answers = iter([Storage()])
    monkeypatch.setattr(world.images, "totals", lambda tenant: next(answers, None) or totals(tenant))

    def finish_after_the_other(*given: Any) -> list[ImageUploaded]:
        monkeypatch.undo()
        world.mark_deleted(first)
        world.images.delete_rows(world.acme, {first: {}})
        assert world.upload(key="k1").status_code == 202
        return finish(*given)

    monkeypatch.setattr(world.pending, "finish", finish_after_the_other)

    late = world.upload(key="k1")

    image_id = late.json()["imageId"]
    assert late.status_code == 202
    assert f"images/{image_id}.jpg" in world.stored()
    assert ("tenant_acme", image_id) in world.pending._rows
    assert [message.event.image_id for message in world.publisher.sent[1:]] == [image_id] * 2


def test_uploads_at_once_never_exceed_the_quota(world: World) -> None:
    limit(world, max_images=7)

    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(lambda n: world.upload(key=f"k{n}"), range(30)))

    assert sorted(statuses(answers)) == [202] * 7 + [413] * 23
    assert len(world.stored()) == len(world.pending._rows) == 7


def test_a_file_above_the_tenants_limit_is_too_large(world: World) -> None:
    limit(world, max_file_bytes=SIZE)

    exact, above = world.upload(), world.upload(picture() + b"\0")

    assert statuses([exact, above]) == [202, 413]
    assert above.json()["type"] == "/problems/file-too-large"
    assert str(SIZE) in above.json()["detail"]
    query = {"file": ("q.jpg", picture() + b"\0")}
    assert world.client.post("/v1/search/image", files=query).status_code == 200  # it is not kept


def test_usage_shows_limits_and_what_is_used(world: World, clock: StandingClock) -> None:
    limit(world, max_images=5, requests_per_minute=600)
    world.upload()
    day = START.replace(hour=9)
    world.usage.record(
        [
            ("u1", "tenant_acme", "images.completed", 2, day),
            ("u2", "tenant_acme", "images.completed", 3, day - timedelta(days=29)),
            ("u3", "tenant_acme", "images.completed", 7, day - timedelta(days=30)),
            ("u4", "tenant_other", "images.completed", 9, day),
        ]
    )

    answer = world.client.get("/v1/usage")

    assert answer.status_code == 200
    assert answer.json() == {
        "limits": {"maxImages": 5, "maxBytes": None, "requestsPerMinute": 600, "maxFileBytes": 4_400_000},
        "images": 1,
        "bytes": SIZE,
        "requestsThisMinute": 2,
        "from": "2026-10-22",
        "to": "2026-11-20",
        "daily": {
            "api.requests": [{"day": "2026-11-20", "quantity": 2}],
            "images.completed": [{"day": "2026-10-22", "quantity": 3}, {"day": "2026-11-20", "quantity": 2}],
        },
        "budgets": [],
        "uploadsPausedUntil": None,
    }


def test_usage_of_another_tenant_is_nobodys_business(world: World, clock: StandingClock) -> None:
    world.upload()

    theirs = world.client_of(world.other).get("/v1/usage").json()

    assert (theirs["images"], theirs["bytes"], theirs["requestsThisMinute"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("from=2026-11-01", ("2026-11-01", "2026-11-20")),
        ("to=2026-11-01", ("2026-10-03", "2026-11-01")),
        ("from=2026-11-20&to=2026-11-20", ("2026-11-20", "2026-11-20")),
        ("from=2025-11-20&to=2026-11-20", ("2025-11-20", "2026-11-20")),
        ("from=2027-01-01", ("2027-01-01", "2027-01-01")),
    ],
)
def test_usage_between_days(world: World, clock: StandingClock, query: str, days: tuple[str, str]) -> None:
    answer = world.client.get(f"/v1/usage?{query}").json()

    assert (answer["from"], answer["to"]) == days


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=2026-11-21&to=2026-11-20", "#/from"),
        ("from=2025-11-19&to=2026-11-20", "#/from"),
        ("from=0001-01-01", "#/from"),
        ("to=0001-01-01", "#/to"),
        ("from=yesterday", "#/from"),
        ("until=2026-11-20", "#/until"),
    ],
)
def test_odd_days_are_refused(world: World, clock: StandingClock, query: str, pointer: str) -> None:
    answer = world.client.get(f"/v1/usage?{query}")

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_the_document_tells_of_limits(world: World) -> None:
    paths = world.anonymous().get("/v1/openapi.json").json()["paths"]

    for path, operations in paths.items():
        for operation in operations.values():
            # What authenticates by another means than a tenant's principal has no rate.
            if path != "/v1/health" and not path.startswith("/v1/notifications/"):
                assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(operation["responses"]["429"]["headers"])
    accepted = paths["/v1/images"]["post"]["responses"]["202"]["headers"]
    assert {"X-Quota-Images-Remaining", "X-Quota-Bytes-Remaining"} <= set(accepted)
    assert [parameter["name"] for parameter in paths["/v1/usage"]["get"]["parameters"]] == ["from", "to"]
