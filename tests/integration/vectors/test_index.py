"""What the pipeline and the API rely on in ``VectorIndex``: of the fake, of the local server, of a given Qdrant."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from deeplens.embedding.model import ModelRef
from deeplens.errors import IndexUnavailable, InvalidEvent, ModelMismatch, TransientError
from deeplens.images.model import ImageRecord, Step
from deeplens.images.payload import payload_of
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import Point, SearchFilter, VectorIndex
from deeplens.vectors.qdrant import QdrantIndex

from local.services.process import ServiceFailed, free_port
from local.services.vectors import VectorService
from tests.fakes.vectors import FakeIndex

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DIMENSIONS = 8
GIVEN_QDRANT = os.environ.get("QDRANT_URL", "")
_numbers = itertools.count(1)

type NewTenant = Callable[..., Tenant]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorService]:
    folder = tmp_path_factory.mktemp("vectors")
    started = VectorService(0, folder, folder)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[VectorService]:
    """A server that a test may kill."""
    started = VectorService(0, tmp_path, tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.fixture(params=["fake", "local"] + ["qdrant"] * bool(GIVEN_QDRANT))
def endpoint(request: pytest.FixtureRequest) -> str:
    """Where collections live; empty for the fake."""
    if request.param == "local":
        return str(request.getfixturevalue("service").environment["QDRANT_URL"])
    return GIVEN_QDRANT if request.param == "qdrant" else ""


@pytest.fixture
def index(endpoint: str) -> Iterator[VectorIndex]:
    if not endpoint:
        yield FakeIndex()
        return
    real = QdrantIndex(os.environ.get("QDRANT_API_KEY", ""))
    yield real
    real.close()


@pytest.fixture
def new_tenant(index: VectorIndex, endpoint: str) -> Iterator[NewTenant]:
    made = []

    def make(dimensions: int = DIMENSIONS) -> Tenant:
        made.append(tenant_at(endpoint, dimensions))
        index.create_collection(made[-1])
        return made[-1]

    yield make
    for tenant in made:
        index.drop_collection(tenant)


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def tenant_at(endpoint: str, dimensions: int = DIMENSIONS) -> Tenant:
    name = f"tenant_v{os.getpid()}x{next(_numbers)}"
    return Tenant(name, name, "active", "", "", endpoint, ModelRef("deeplens-visual", "1", dimensions))


def point(tenant: Tenant, image_id: str, *direction: float, **changes: Any) -> Point:
    record = ImageRecord(
        id=image_id,
        file_name="photo.jpg",
        storage_path="",
        mime_type="image/jpeg",
        size_bytes=1,
        sha256="",
        uploaded_at=NOON,
        updated_at=NOON,
        generation=1,
        step=Step.EXTRACTED,
        revision=1,
        tags=(),
        metadata={},
    )
    return Point(
        image_id, vector(*direction, size=tenant.model.dimensions), payload_of(replace(record, **changes), tenant)
    )


def vector(*direction: float, size: int = DIMENSIONS) -> list[float]:
    return [*direction, *[0.0] * (size - len(direction))]


def ids(index: VectorIndex, tenant: Tenant, **filters: Any) -> set[str]:
    return {match.image_id for match in index.search(tenant, vector(1, 1), limit=50, where=SearchFilter(**filters))}


def test_matches_come_best_first_with_their_cosine_similarity(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(
        tenant,
        [
            point(tenant, "far", -1),
            point(tenant, "same", 5),
            point(tenant, "near", 1, 1),
            point(tenant, "across", 0, 1),
        ],
    )
    found = index.search(tenant, vector(2), limit=10)
    assert [match.image_id for match in found] == ["same", "near", "across", "far"]
    assert [match.score for match in found] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-5)
    assert all(-1 <= match.score <= 1 for match in found)


def test_no_more_matches_than_asked_for(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1, n) for n in range(5)])
    assert [match.image_id for match in index.search(tenant, vector(1), limit=2)] == ["img_0", "img_1"]


def test_a_threshold_keeps_what_is_at_least_as_similar(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "near", 1, 1), point(tenant, "across", 0, 1)])
    assert [match.image_id for match in index.search(tenant, vector(1), limit=10, threshold=0.7)] == ["near"]
    assert index.search(tenant, vector(1), limit=10, threshold=0.8) == []


def test_an_identical_image_passes_a_threshold_of_one(index: VectorIndex, tenant: Tenant) -> None:
    values = np.random.default_rng(7).standard_normal(DIMENSIONS).tolist()
    index.upsert(tenant, [Point("twin", values, point(tenant, "twin").payload)])
    assert [match.image_id for match in index.search(tenant, values, limit=1, threshold=1.0)] == ["twin"]


def test_a_match_carries_its_payload(index: VectorIndex, tenant: Tenant) -> None:
    given = point(tenant, "img_a", 1, tags=("red", "blue"), metadata={"camera": "X100", "nested": {"no": 1}}, width=640)
    index.upsert(tenant, [given])
    [match] = index.search(tenant, vector(1), limit=1)
    assert match.payload == given.payload
    assert match.payload["tenant_id"] == tenant.id
    assert match.payload["metadata"] == {"camera": "X100"}


def test_every_tag_asked_for_must_be_there(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "both", 1, tags=("red", "blue")), point(tenant, "one", 1, tags=("red",))])
    assert ids(index, tenant, tags=("red",)) == {"both", "one"}
    assert ids(index, tenant, tags=("red", "blue")) == {"both"}
    assert ids(index, tenant, tags=("green",)) == set()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("x", {"text"}),
        ("X", set()),
        (1, {"int", "float"}),
        (1.0, {"int", "float"}),
        (1.5, {"fraction"}),
        (True, {"true"}),
        (False, {"false"}),
        ("1", {"digit"}),
        (2**70, {"huge"}),
        (2**70 + 1, set()),
    ],
)
def test_metadata_is_compared_by_value_and_type(
    index: VectorIndex, tenant: Tenant, asked: Any, found: set[str]
) -> None:
    values = {"text": "x", "int": 1, "float": 1.0, "fraction": 1.5, "true": True, "false": False, "digit": "1"}
    given = values | {"huge": 2**70, "null": None, "list": [1]}
    index.upsert(tenant, [point(tenant, name, 1, metadata={"key": value}) for name, value in given.items()])
    assert ids(index, tenant, metadata={"key": asked}) == found


@pytest.mark.parametrize("key", ["camera", "exif.iso", 'with "quotes"', "naïve key", "a[0]", "", "a=b", "日本"])
def test_metadata_is_found_under_any_key(index: VectorIndex, tenant: Tenant, key: str) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1, metadata={key: "v", "other": "w"}), point(tenant, "img_b", 1)])
    assert ids(index, tenant, metadata={key: "v"}) == {"img_a"}
    assert ids(index, tenant, metadata={key: "v", "other": "v"}) == set()


def test_upload_time_includes_its_start_and_excludes_its_end(index: VectorIndex, tenant: Tenant) -> None:
    hours = [point(tenant, f"{n}h", 1, uploaded_at=NOON + timedelta(hours=n)) for n in range(3)]
    index.upsert(tenant, [*hours, point(tenant, "just before", 1, uploaded_at=NOON - timedelta(microseconds=1))])
    assert ids(index, tenant, uploaded_from=NOON) == {"0h", "1h", "2h"}
    assert ids(index, tenant, uploaded_before=NOON + timedelta(hours=1)) == {"0h", "just before"}
    in_berlin = (NOON + timedelta(hours=1)).astimezone(tz=None)
    assert ids(index, tenant, uploaded_from=in_berlin, uploaded_before=NOON + timedelta(hours=2)) == {"1h"}


def test_excluded_images_leave_room_for_others(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1, n) for n in range(3)])
    where = SearchFilter(exclude_image_ids=("img_0", "img_unknown"))
    assert [match.image_id for match in index.search(tenant, vector(1), limit=1, where=where)] == ["img_1"]


def test_indexing_again_replaces_the_point(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1, tags=("old",))])
    index.upsert(tenant, [point(tenant, "img_a", 0, 1, tags=("new",))])
    [match] = index.search(tenant, vector(0, 1), limit=10)
    assert match.score == pytest.approx(1)
    assert (match.payload["tags"], index.count(tenant)) == (["new"], 1)


def test_a_replaced_payload_is_filtered_by_and_keeps_the_vector(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 3, tags=("old",), metadata={"k": "v"})])
    index.replace_payload(tenant, "img_a", point(tenant, "img_a", tags=("new",), revision=2).payload)
    assert ids(index, tenant, tags=("old",)) == ids(index, tenant, metadata={"k": "v"}) == set()
    [match] = index.search(tenant, vector(1), limit=1, where=SearchFilter(tags=("new",)))
    assert match.score == pytest.approx(1)
    assert match.payload["revision"] == 2


def test_replacing_the_payload_of_a_missing_point_makes_none(index: VectorIndex, tenant: Tenant) -> None:
    index.replace_payload(tenant, "img_gone", point(tenant, "img_gone").payload)
    assert index.existing(tenant, ["img_gone"]) == set()


def test_deleting_is_safe_to_repeat_and_takes_no_other_point(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1), point(tenant, "img_b", 1)])
    for _ in range(2):
        index.delete(tenant, ["img_a", "img_never"])
    index.delete(tenant, [])
    assert (ids(index, tenant), index.count(tenant)) == ({"img_b"}, 1)


def test_the_vector_of_an_image_comes_back_normalised(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 3, 4)])
    assert index.vector_of(tenant, "img_a") == pytest.approx(vector(0.6, 0.8))
    assert index.vector_of(tenant, "img_never") is None


def test_existing_tells_which_images_have_a_point(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1) for n in range(3)])
    assert index.existing(tenant, ["img_1", "img_2", "img_9"]) == {"img_1", "img_2"}
    assert index.existing(tenant, []) == set()


def test_a_batch_larger_than_a_request_arrives_whole(index: VectorIndex, tenant: Tenant) -> None:
    points = [point(tenant, f"img_{n}", 1, n) for n in range(600)]
    index.upsert(tenant, points)
    index.upsert(tenant, [])
    assert index.count(tenant) == 600
    assert len(index.existing(tenant, [one.image_id for one in points])) == 600


def test_threads_share_one_index(index: VectorIndex, tenant: Tenant) -> None:
    def write_and_read(n: int) -> set[str]:
        index.upsert(tenant, [point(tenant, f"img_{n}", 1, n)])
        return index.existing(tenant, [f"img_{n}"])

    with ThreadPoolExecutor(8) as workers:
        assert list(workers.map(write_and_read, range(64))) == [{f"img_{n}"} for n in range(64)]
    assert index.count(tenant) == 64


def test_creating_a_collection_twice_keeps_its_points(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1)])
    index.create_collection(tenant)
    assert index.count(tenant) == 1


def test_a_dropped_collection_is_gone_and_can_be_made_anew(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1)])
    for _ in range(2):
        index.drop_collection(tenant)
    with pytest.raises(TransientError):
        index.count(tenant)
    index.create_collection(tenant)
    assert index.count(tenant) == 0


def test_vectors_of_another_length_are_refused_and_nothing_is_written(index: VectorIndex, tenant: Tenant) -> None:
    wrong = Point("img_b", [1.0] * (DIMENSIONS + 1), {})
    with pytest.raises(ModelMismatch):
        index.upsert(tenant, [point(tenant, "img_a", 1), wrong])
    with pytest.raises(ModelMismatch):
        index.search(tenant, wrong.vector, limit=1)
    assert index.count(tenant) == 0


def test_a_collection_made_for_another_size_is_told_apart(index: VectorIndex, tenant: Tenant) -> None:
    other = replace(tenant, model=replace(tenant.model, dimensions=DIMENSIONS * 2))
    with pytest.raises(ModelMismatch):
        index.create_collection(other)
    with pytest.raises(ModelMismatch):
        index.upsert(other, [point(other, "img_a", 1)])
    with pytest.raises(ModelMismatch):
        index.search(other, vector(1, size=DIMENSIONS * 2), limit=1)


def test_tenants_never_see_each_other(index: VectorIndex, new_tenant: NewTenant) -> None:
    ours, theirs = new_tenant(), new_tenant()
    index.upsert(ours, [point(ours, "img_shared", 1), point(ours, "img_ours", 1)])
    index.upsert(theirs, [point(theirs, "img_shared", 0, 1)])
    index.delete(theirs, ["img_ours"])
    assert (ids(index, ours), ids(index, theirs)) == ({"img_shared", "img_ours"}, {"img_shared"})
    assert index.vector_of(theirs, "img_ours") is None
    assert index.vector_of(ours, "img_shared") == pytest.approx(vector(1))
    assert index.existing(theirs, ["img_ours"]) == set()
    index.drop_collection(theirs)
    assert index.count(ours) == 2


def test_a_point_belongs_to_the_tenant_that_wrote_it_whatever_its_payload_says(
    index: VectorIndex, tenant: Tenant
) -> None:
    index.upsert(tenant, [Point("img_a", vector(1), {"image_id": "img_a", "tenant_id": "tenant_other"})])
    assert [match.payload["tenant_id"] for match in index.search(tenant, vector(1), limit=1)] == [tenant.id]


def test_neighbours_of_many_images_come_best_first_without_themselves(index: VectorIndex, tenant: Tenant) -> None:
    turned = {f"img_{n}": (1.0, n / 100) for n in range(150)}
    index.upsert(tenant, [point(tenant, image_id, *direction) for image_id, direction in turned.items()])
    found = index.neighbours(tenant, dict.fromkeys([*turned, "img_unknown"], SearchFilter()), limit=3, threshold=0.9)
    assert found.keys() == turned.keys()
    assert [match.image_id for match in found["img_0"]] == ["img_1", "img_2", "img_3"]
    assert {match.image_id for match in found["img_100"][:2]} == {"img_99", "img_101"}
    assert all(image_id not in [match.image_id for match in matches] for image_id, matches in found.items())
    assert all(0.9 <= match.score <= 1 for matches in found.values() for match in matches)
    assert index.neighbours(tenant, {"img_0": SearchFilter()}, limit=200, threshold=0.99999)["img_0"] == []
    assert index.neighbours(tenant, {}, limit=3, threshold=0.9) == {}


def test_many_equal_points_do_not_hide_behind_an_image_itself(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, f"img_{n}", 1) for n in range(6)])
    found = index.neighbours(tenant, {"img_5": SearchFilter()}, limit=5, threshold=1)
    assert {match.image_id for match in found["img_5"]} == {f"img_{n}" for n in range(5)}


def test_frames_are_neighbours_where_they_are_wanted_and_never_of_their_own_video(
    index: VectorIndex, tenant: Tenant
) -> None:
    def frame(image_id: str, video_id: str) -> Point:
        made = point(tenant, image_id, 1)
        return replace(made, payload={**made.payload, "video_id": video_id})

    index.upsert(tenant, [point(tenant, "img_a", 1), point(tenant, "img_b", 1)])
    index.upsert(tenant, [frame("img_c", "vid_1"), frame("img_d", "vid_1"), frame("img_e", "vid_2")])
    filters = {"img_a": SearchFilter(without_frames=True), "img_c": SearchFilter(exclude_video_ids=("vid_1",))}
    found = index.neighbours(tenant, filters, limit=9, threshold=0.9)
    assert {match.image_id for match in found["img_a"]} == {"img_b"}
    assert {match.image_id for match in found["img_c"]} == {"img_a", "img_b", "img_e"}


def test_another_tenants_points_are_no_neighbours(index: VectorIndex, new_tenant: NewTenant) -> None:
    one, other = new_tenant(), new_tenant()
    index.upsert(one, [point(one, "img_a", 1)])
    index.upsert(other, [point(other, "img_b", 1)])
    assert index.neighbours(one, dict.fromkeys(["img_a", "img_b"], SearchFilter()), limit=3, threshold=0.5) == {
        "img_a": []
    }


def test_a_missing_collection_fails_its_tenant_only_and_is_never_made_by_a_write(
    index: VectorIndex, endpoint: str
) -> None:
    unknown = tenant_at(endpoint)
    for call in (
        lambda: index.upsert(unknown, [point(unknown, "img_a", 1)]),
        lambda: index.search(unknown, vector(1), limit=1),
        lambda: index.replace_payload(unknown, "img_a", {}),
        lambda: index.vector_of(unknown, "img_a"),
        lambda: index.count(unknown),
    ):
        with pytest.raises(TransientError):
            call()
    index.delete(unknown, ["img_a"])
    assert index.existing(unknown, ["img_a"]) == set()


def test_every_acknowledged_point_survives_a_killed_server(own_service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(own_service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    with ThreadPoolExecutor(1) as other:
        writing = other.submit(write_until_away, index, tenant)
        while index.count(tenant) < 50 and not writing.done():
            continue
        own_service.kill()
        acknowledged = writing.result(timeout=60)
    with pytest.raises(IndexUnavailable):
        index.count(tenant)
    own_service.start()
    assert len(acknowledged) >= 50
    assert index.existing(tenant, acknowledged) == set(acknowledged)
    assert len(ids(index, tenant, tags=("kept",))) == 50


def write_until_away(index: VectorIndex, tenant: Tenant) -> list[str]:
    """Write single points for as long as they are acknowledged; returns those that were."""
    acknowledged: list[str] = []
    for n in itertools.count():
        try:
            index.upsert(tenant, [point(tenant, f"img_{n}", 1, n, tags=("kept",))])
        except IndexUnavailable:
            return acknowledged
        acknowledged.append(f"img_{n}")
    raise AssertionError


def test_a_restarted_server_is_reached_over_connections_kept_from_before(own_service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(own_service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    index.upsert(tenant, [point(tenant, "img_a", 1)])
    own_service.stop()
    own_service.start()
    assert index.count(tenant) == 1


def test_a_request_lost_with_its_connection_is_sent_again() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ForgetfulQdrant) as forgetful:
        Thread(target=forgetful.serve_forever, daemon=True).start()
        index, tenant = QdrantIndex(), tenant_at(f"http://127.0.0.1:{forgetful.server_port}")
        assert [index.count(tenant) for _ in range(4)] == [7] * 4
        index.close()
        forgetful.shutdown()


class ForgetfulQdrant(BaseHTTPRequestHandler):
    """Answers the first request of each connection and drops the connection at the second, unanswered."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.answered = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.close_connection = self.answered
        if not self.answered:
            body = b'{"result": {"count": 7}, "status": "ok", "time": 0}'
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.wfile.write(head + body)
        self.answered = True


def test_an_index_that_is_away_is_unavailable() -> None:
    tenant = tenant_at(f"http://127.0.0.1:{free_port()}")
    for call in (
        lambda: QdrantIndex().create_collection(tenant),
        lambda: QdrantIndex().upsert(tenant, [point(tenant, "img_a", 1)]),
        lambda: QdrantIndex().search(tenant, vector(1), limit=1),
        lambda: QdrantIndex().delete(tenant, ["img_a"]),
        lambda: QdrantIndex().existing(tenant, ["img_a"]),
    ):
        with pytest.raises(IndexUnavailable):
            call()


def test_a_vector_that_is_no_number_is_refused_for_good(service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    with pytest.raises(InvalidEvent):
        index.upsert(tenant, [Point("img_a", vector(float("nan")), {})])
    assert index.count(tenant) == 0


def test_a_wrong_api_key_is_an_index_that_is_away(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "right")
    tenant = tenant_at(request.getfixturevalue("own_service").environment["QDRANT_URL"])
    with pytest.warns(UserWarning, match="insecure"), pytest.raises(IndexUnavailable):
        QdrantIndex("wrong").create_collection(tenant)
    with pytest.warns(UserWarning, match="insecure"):
        QdrantIndex("right").create_collection(tenant)


def test_a_taken_port_is_reported_with_the_way_out(service: VectorService, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=f"port {service.port} is taken.*DEEPLENS_QDRANT_PORT"):
        VectorService(service.port, tmp_path, tmp_path).start()


def test_a_second_server_on_the_same_directory_is_refused(own_service: VectorService, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="belongs to a vector server that is running"):
        VectorService(0, tmp_path, tmp_path).start()


def test_every_point_is_listed_once_page_by_page(index: VectorIndex, tenant: Tenant) -> None:
    named = {f"img_{n}" for n in range(23)}
    index.upsert(tenant, [point(tenant, image_id, 1) for image_id in named])
    pages, start = [], None
    while True:
        page = index.scroll(tenant, start, 5)
        pages.append(page.points)
        start = page.following
        if start is None:
            break
    listed = [one for page in pages for one in page]
    assert sorted(one.image_id or "" for one in listed) == sorted(named)
    assert [one.id for one in listed] == sorted(one.id for one in listed)
    assert max(map(len, pages)) <= 5
    assert {one.uploaded_at for one in listed} == {"2026-11-20T12:00:00Z"}


def test_points_are_removed_by_their_own_ids(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1), point(tenant, "img_b", 1)])
    doomed = [one.id for one in index.scroll(tenant, None, 10).points if one.image_id == "img_a"]
    for _ in range(2):
        index.delete_points(tenant, doomed)
    index.delete_points(tenant, [])
    assert index.existing(tenant, ["img_a", "img_b"]) == {"img_b"}


def test_a_missing_collection_has_no_points(index: VectorIndex, endpoint: str) -> None:
    nowhere = tenant_at(endpoint)
    assert index.scroll(nowhere, None, 5).points == ()
    index.delete_points(nowhere, ["0a5e3b0c-6a0e-5c6e-9d1f-3b8a52b8f7d4"])
