"""Points and collections: writing, replacing, deleting, listing and tenant isolation of every ``VectorIndex``."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from deeplens.errors import ModelMismatch, TransientError
from deeplens.tenants.model import Tenant
from deeplens.vectors.keys import IndexKeys
from deeplens.vectors.ports import Point, SearchFilter, VectorIndex
from deeplens.vectors.qdrant import QdrantIndex

from tests.integration.vectors.conftest import DIMENSIONS, NewTenant, ids, point, tenant_at, vector


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
    assert len(index.existing(tenant, [indexed.image_id for indexed in points])) == 600


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
    listed = [indexed for page in pages for indexed in page]
    assert sorted(indexed.image_id or "" for indexed in listed) == sorted(named)
    assert [indexed.id for indexed in listed] == sorted(indexed.id for indexed in listed)
    assert max(map(len, pages)) <= 5
    assert {indexed.uploaded_at for indexed in listed} == {"2026-11-20T12:00:00Z"}


def test_points_are_removed_by_their_own_ids(index: VectorIndex, tenant: Tenant) -> None:
    index.upsert(tenant, [point(tenant, "img_a", 1), point(tenant, "img_b", 1)])
    doomed = [indexed.id for indexed in index.scroll(tenant, None, 10).points if indexed.image_id == "img_a"]
    for _ in range(2):
        index.delete_points(tenant, doomed)
    index.delete_points(tenant, [])
    assert index.existing(tenant, ["img_a", "img_b"]) == {"img_b"}


def test_a_missing_collection_has_no_points(index: VectorIndex, endpoint: str) -> None:
    nowhere = tenant_at(endpoint)
    assert index.scroll(nowhere, None, 5).points == ()
    index.delete_points(nowhere, ["0a5e3b0c-6a0e-5c6e-9d1f-3b8a52b8f7d4"])


def test_installations_that_share_a_server_have_collections_of_their_own(endpoint: str) -> None:
    if not endpoint:
        pytest.skip("the fake has no server to share")
    keys = IndexKeys.of(os.environ.get("QDRANT_API_KEY", ""), endpoint, required=False)
    first, second, same = QdrantIndex(keys), QdrantIndex(keys, "dev-"), tenant_at(endpoint)
    first.create_collection(same)
    first.upsert(same, [point(same, "img_a", 1)])
    second.create_collection(same)
    assert (first.count(same), second.count(same)) == (1, 0)
    second.drop_collection(same)
    assert first.count(same) == 1
    first.drop_collection(same)
    first.close()
    second.close()
