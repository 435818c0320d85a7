"""What the pipeline and the API rely on in ``ImageRepository``, of the fake as of PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections, connect
from deeplens.database.credentials import database_url
from deeplens.images.model import ImageRecord, MediaQuery, NewImage, StageResult, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.postgres import PostgresImages
from deeplens.tenants.model import Tenant

from tests.fakes.db import FakeImages

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(params=["fake", "postgres"])
def images(request: pytest.FixtureRequest) -> ImageRepository:
    return FakeImages() if request.param == "fake" else PostgresImages(request.getfixturevalue("connections"))


def new_image(image_id: str = "img_a", **changes: Any) -> NewImage:
    image = NewImage(
        id=image_id,
        file_name="cat.jpg",
        storage_path=f"nfs://tenant/images/{image_id}.jpg",
        mime_type="image/jpeg",
        size_bytes=3_000_000_000,
        sha256="ab" * 32,
        uploaded_at=NOON,
        tags=("cat", "süß"),
        metadata={"album": {"page": 3}, "rated": 4.5},
    )
    return replace(image, **changes)


def reached(step: Step, image_id: str = "img_a", generation: int = 1, **more: Any) -> StageResult:
    values = {"stage": step.name.lower(), "occurred_at": NOON + timedelta(seconds=int(step)), **more}
    return StageResult(image_id, generation, step, **values)


def row_of(images: ImageRepository, tenant: Tenant, image_id: str = "img_a") -> ImageRecord:
    row = images.find(tenant, [image_id])[image_id]
    assert isinstance(row, ImageRecord)
    return row


def stages_of(images: ImageRepository, tenant: Tenant, image_id: str = "img_a") -> list[tuple[int, str]]:
    return [(entry.generation, entry.stage) for entry in images.timeline(tenant, image_id)]


def test_an_accepted_image_reads_back_as_it_was_given(images: ImageRepository, tenant: Tenant) -> None:
    given = new_image()
    row = images.insert(tenant, given)
    assert isinstance(row, ImageRecord)
    assert (row.generation, row.step, row.revision, row.attempt) == (1, Step.ACCEPTED, 1, 1)
    assert {name: getattr(row, name) for name in NewImage.__slots__} == {
        name: getattr(given, name) for name in NewImage.__slots__
    }
    assert row_of(images, tenant) == row
    assert stages_of(images, tenant) == [(1, "accept")]


def test_starts_are_counted_until_one_ends(images: ImageRepository, tenant: Tenant) -> None:
    for image_id in ("img_a", "img_b"):
        images.insert(tenant, new_image(image_id))
    assert [images.start(tenant, "img_a") for _ in range(3)] == [1, 2, 3]
    assert images.start(tenant, "img_b") == 1
    images.stop(tenant, "img_a")
    assert (images.start(tenant, "img_a"), images.start(tenant, "img_b")) == (1, 2)


def test_before_the_migration_starts_are_not_counted(connections: Connections, tenant: Tenant) -> None:
    images = PostgresImages(connections)
    images.insert(tenant, new_image())
    with connect(database_url(connections.platform_url, f"deeplens_{tenant.id}")) as administrator:
        administrator.execute("ALTER TABLE images RENAME COLUMN starts TO put_away")
    assert [images.start(tenant, "img_a") for _ in range(3)] == [0, 0, 0]
    images.stop(tenant, "img_a")


def test_accepting_the_same_id_again_returns_the_row_that_is_there(images: ImageRepository, tenant: Tenant) -> None:
    first = images.insert(tenant, new_image())
    assert images.insert(tenant, new_image(file_name="dog.jpg")) == first
    assert stages_of(images, tenant) == [(1, "accept")]


def test_two_uploads_of_one_id_at_the_same_time_make_one_row(images: ImageRepository, tenant: Tenant) -> None:
    with ThreadPoolExecutor(8) as workers:
        rows = list(workers.map(lambda n: images.insert(tenant, new_image(file_name=f"{n}.jpg")), range(16)))
    assert rows == [rows[0]] * 16


def test_find_returns_known_ids_only(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image("img_a"))
    images.insert(tenant, new_image("img_b"))
    assert set(images.find(tenant, ["img_b", "img_a", "img_a", "img_unknown"])) == {"img_a", "img_b"}
    assert images.find(tenant, []) == {}


def test_each_stage_moves_the_image_forward_and_leaves_what_it_found_out(
    images: ImageRepository, tenant: Tenant
) -> None:
    images.insert(tenant, new_image())
    done = NOON + timedelta(seconds=9)
    images.advance(tenant, [reached(Step.PREPROCESSED, changes={"width": 1920, "height": 1080, "format": "JPEG"})])
    images.advance(tenant, [reached(Step.INDEXED, duration_seconds=0.25, changes={"model": "m", "model_version": "2"})])
    images.advance(tenant, [reached(Step.COMPLETED, changes={"completed_at": done, "processing_seconds": 8.5})])
    row = row_of(images, tenant)
    assert (row.step, row.width, row.height, row.format) == (Step.COMPLETED, 1920, 1080, "JPEG")
    assert (row.model, row.model_version, row.completed_at, row.processing_seconds) == ("m", "2", done, 8.5)
    assert stages_of(images, tenant) == [(1, "accept"), (1, "preprocessed"), (1, "indexed"), (1, "completed")]
    assert images.timeline(tenant, "img_a")[2].duration_seconds == 0.25


def test_a_repeated_stage_changes_nothing(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.advance(tenant, [reached(Step.PREPROCESSED, changes={"width": 10})] * 2)
    before, timeline = row_of(images, tenant), images.timeline(tenant, "img_a")
    images.advance(tenant, [reached(Step.PREPROCESSED, changes={"width": 99}, occurred_at=NOON + timedelta(hours=1))])
    assert row_of(images, tenant) == before
    assert images.timeline(tenant, "img_a") == timeline


def test_an_advance_of_an_older_generation_changes_nothing(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.advance(tenant, [reached(Step.PREPROCESSED, generation=2)])
    before, timeline = row_of(images, tenant), images.timeline(tenant, "img_a")
    images.advance(tenant, [reached(Step.COMPLETED, generation=1)])
    assert row_of(images, tenant) == before
    assert images.timeline(tenant, "img_a") == timeline


def test_a_completed_image_never_goes_back(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.advance(tenant, [reached(Step.COMPLETED, changes={"completed_at": NOON})])
    for step in (Step.PREPROCESSED, Step.INDEXED, Step.FAILED):
        images.advance(tenant, [reached(step, error_code="LATE")])
    row = row_of(images, tenant)
    assert (row.step, row.error_code, row.completed_at) == (Step.COMPLETED, None, NOON)


def test_a_newer_generation_starts_over(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    failure = {"error_code": "IMAGE_CORRUPT", "error_message": "cut\x00 off", "error_retryable": False, "attempt": 3}
    images.advance(tenant, [reached(Step.FAILED, **failure)])
    failed = row_of(images, tenant)
    assert (failed.step, failed.error_code, failed.error_retryable, failed.attempt) == (
        Step.FAILED,
        "IMAGE_CORRUPT",
        False,
        3,
    )
    images.advance(tenant, [reached(Step.PREPROCESSED, generation=2)])
    row = row_of(images, tenant)
    assert (row.generation, row.step, row.error_code, row.attempt) == (2, Step.PREPROCESSED, None, 1)
    assert images.timeline(tenant, "img_a")[1].error_code == "IMAGE_CORRUPT"


def test_the_newest_of_several_results_of_one_image_wins(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.advance(
        tenant,
        [reached(Step.PREPROCESSED, generation=3), reached(Step.COMPLETED, generation=1), reached(Step.INDEXED)],
    )
    row = row_of(images, tenant)
    assert (row.generation, row.step) == (3, Step.PREPROCESSED)


def test_results_of_unknown_images_are_ignored(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.advance(tenant, [reached(Step.PREPROCESSED, "img_unknown"), reached(Step.PREPROCESSED)])
    assert row_of(images, tenant).step is Step.PREPROCESSED
    assert images.timeline(tenant, "img_unknown") == []


def test_batches_of_the_same_images_at_the_same_time_all_arrive(images: ImageRepository, tenant: Tenant) -> None:
    ids = [f"img_{n}" for n in range(40)]
    for image_id in ids:
        images.insert(tenant, new_image(image_id))
    batches = [[reached(step, i) for i in (ids if step % 2 else reversed(ids))] for step in Step if step] * 3
    with ThreadPoolExecutor(6) as workers:
        list(workers.map(lambda batch: images.advance(tenant, batch), batches))
    assert {row.step for row in images.page(tenant, MediaQuery(limit=100))} == {Step.COMPLETED}
    assert all(len(images.timeline(tenant, image_id)) == 6 for image_id in ids)


def test_pages_are_newest_first_and_never_repeat_or_miss_an_image(images: ImageRepository, tenant: Tenant) -> None:
    for n in range(7):  # pairs share their time, so that the id decides
        images.insert(tenant, new_image(f"img_{n}", uploaded_at=NOON + timedelta(seconds=n // 2)))
    seen: list[ImageRecord] = []
    query = MediaQuery(limit=3)
    while page := images.page(tenant, query):
        seen += page
        query = replace(query, after=(page[-1].uploaded_at, page[-1].id))
    assert [row.id for row in seen] == [f"img_{n}" for n in (6, 5, 4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (MediaQuery(statuses=("completed",)), ["img_b"]),
        (MediaQuery(statuses=("accepted", "completed")), ["img_c", "img_b", "img_a"]),
        (MediaQuery(tags=("cat",)), ["img_b", "img_a"]),
        (MediaQuery(tags=("cat", "red")), ["img_b"]),
        (MediaQuery(tags=("' OR 1=1 --",)), []),
        (MediaQuery(uploaded_from=NOON + timedelta(hours=1)), ["img_c", "img_b"]),
        (MediaQuery(uploaded_before=NOON + timedelta(hours=1)), ["img_a"]),
        (MediaQuery(limit=1, tags=("cat",)), ["img_b"]),
    ],
)
def test_pages_hold_what_was_asked_for(
    images: ImageRepository, tenant: Tenant, query: MediaQuery, expected: list[str]
) -> None:
    for n, (image_id, tags) in enumerate([("img_a", ("cat",)), ("img_b", ("red", "cat")), ("img_c", ())]):
        images.insert(tenant, new_image(image_id, tags=tags, uploaded_at=NOON + timedelta(hours=n)))
    images.advance(tenant, [reached(Step.COMPLETED, "img_b")])
    assert [row.id for row in images.page(tenant, query)] == expected


def test_amending_replaces_what_is_given_and_raises_the_revision(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    tagged = images.amend(tenant, "img_a", tags=["dog"], metadata=None)
    assert tagged is not None
    assert (tagged.tags, tagged.metadata, tagged.revision) == (("dog",), new_image().metadata, 2)
    emptied = images.amend(tenant, "img_a", tags=[], metadata={})
    assert emptied is not None
    assert (emptied.tags, emptied.metadata, emptied.revision) == ((), {}, 3)
    assert row_of(images, tenant) == emptied
    assert images.amend(tenant, "img_unknown", tags=["dog"], metadata=None) is None


def test_a_buried_image_is_gone_for_readers_and_deaf_for_stages(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    assert images.mark_deleted(tenant, "img_a", NOON)
    assert images.mark_deleted(tenant, "img_a", NOON + timedelta(hours=1))
    images.advance(tenant, [reached(Step.COMPLETED)])
    assert images.find(tenant, ["img_a"]) == {"img_a": Tombstone("img_a", NOON)}
    assert images.page(tenant, MediaQuery()) == []
    assert images.amend(tenant, "img_a", tags=["dog"], metadata=None) is None
    assert images.insert(tenant, new_image()) == Tombstone("img_a", NOON)
    assert not images.mark_deleted(tenant, "img_unknown", NOON)


def test_erasing_keeps_a_receipt_and_never_lets_the_image_return(images: ImageRepository, tenant: Tenant) -> None:
    images.insert(tenant, new_image())
    images.insert(tenant, new_image("img_live"))
    images.mark_deleted(tenant, "img_a", NOON)
    for _ in range(2):
        images.delete_rows(tenant, {"img_a": {"objects": ["images/img_a.jpg"]}, "img_live": {}, "img_unknown": {}})
    tombstone = Tombstone("img_a", NOON, {"objects": ["images/img_a.jpg"]})
    assert images.find(tenant, ["img_a"]) == {"img_a": tombstone}
    assert images.insert(tenant, new_image()) == tombstone
    assert images.timeline(tenant, "img_a") == []
    assert images.mark_deleted(tenant, "img_a", NOON)
    assert row_of(images, tenant, "img_live").step is Step.ACCEPTED


def test_tombstones_are_purged_after_37_days_once_the_clean_up_is_done(
    images: PostgresImages | FakeImages, tenant: Tenant
) -> None:
    for image_id, age in (("img_old", 38), ("img_young", 36), ("img_uncleaned", 90)):
        images.insert(tenant, new_image(image_id))
        images.mark_deleted(tenant, image_id, NOON - timedelta(days=age))
    images.delete_rows(tenant, {"img_old": {}, "img_young": {}})
    assert images.purge_tombstones(tenant, NOON) == 1
    assert set(images.find(tenant, ["img_old", "img_young", "img_uncleaned"])) == {"img_young", "img_uncleaned"}


def test_two_tenants_never_see_each_others_images(images: ImageRepository, tenant: Tenant, new_tenant: Any) -> None:
    other = new_tenant()
    images.insert(tenant, new_image())
    images.insert(other, new_image(file_name="other.jpg"))
    images.advance(other, [reached(Step.COMPLETED)])
    images.mark_deleted(other, "img_a", NOON)
    assert row_of(images, tenant).step is Step.ACCEPTED
    assert images.find(other, ["img_a"]) == {"img_a": Tombstone("img_a", NOON)}
    assert [row.file_name for row in images.page(tenant, MediaQuery())] == ["cat.jpg"]
    assert images.page(other, MediaQuery()) == []


def test_text_that_postgresql_cannot_store_does_not_stop_an_image(connections: Connections, tenant: Tenant) -> None:
    images = PostgresImages(connections)
    odd = new_image(file_name="a\x00b\ud800.jpg", tags=("\x00",), metadata={"k\x00": ["\udfff", float("nan")]})
    row = images.insert(tenant, odd)
    assert isinstance(row, ImageRecord)
    assert (row.file_name, row.tags, row.metadata) == ("a�b�.jpg", ("�",), {"k�": ["�", None]})
    assert images.amend(tenant, "img_a", tags=["x\x00"], metadata={"a": "\x00"}) is not None


def test_a_stage_may_not_change_a_column_that_is_not_its_own(connections: Connections, tenant: Tenant) -> None:
    images = PostgresImages(connections)
    images.insert(tenant, new_image())
    with pytest.raises(ValueError, match="revision"):
        images.advance(tenant, [reached(Step.PREPROCESSED, changes={"revision": 7})])


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (MediaQuery(limit=10, after=(NOON, "img_5")), "images_newest"),
        (MediaQuery(limit=10, tags=("rare",)), "images_tags"),
    ],
)
def test_listing_many_images_uses_an_index(
    connections: Connections, tenant: Tenant, query: MediaQuery, index: str
) -> None:
    with connections.tenant(tenant) as connection:
        connection.execute(
            "INSERT INTO images (id, file_name, storage_path, mime_type, size_bytes, sha256, uploaded_at, tags) "
            "SELECT 'img_' || n, 'f', 'p', 'm', 1, 's', now() - n * interval '1 second', "
            "CASE WHEN n % 5000 = 0 THEN ARRAY['rare'] ELSE ARRAY['common', 'tag' || n % 50] END "
            "FROM generate_series(1, 20000) AS n"
        )
    with connect(database_url(connections.platform_url, f"deeplens_{tenant.id}")) as administrator:
        administrator.execute("ANALYZE images")
    statement, values = PostgresImages.page_statement(query)
    with connections.tenant(tenant) as connection:
        plan = "\n".join(row["QUERY PLAN"] for row in connection.execute(f"EXPLAIN {statement}", values))
    assert index in plan
    assert "Seq Scan on images" not in plan


def test_rows_are_read_page_by_page_with_what_is_yet_to_be_erased(images: ImageRepository, tenant: Tenant) -> None:
    ids = ["img_0", "img_9", "img_a", "img_aa", "img_z"]
    for image_id in reversed(ids):
        images.insert(tenant, new_image(image_id))
    images.mark_deleted(tenant, "img_9", NOON)
    images.mark_deleted(tenant, "img_a", NOON)
    images.delete_rows(tenant, {"img_a": {}})
    seen: list[ImageRecord | Tombstone] = []
    while page := images.after(tenant, seen[-1].id if seen else "", 2):
        assert len(page) <= 2
        seen += page
    assert [one.id for one in seen] == ["img_0", "img_9", "img_aa", "img_z"]
    assert seen[1] == Tombstone("img_9", NOON)
