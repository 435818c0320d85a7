"""What a point carries and how a search narrows by it."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from deeplens.embedding.model import ModelRef
from deeplens.images.model import ImageRecord, Step
from deeplens.images.payload import payload_of
from deeplens.tenants.model import Tenant
from deeplens.vectors.filters import filter_of, metadata_term, point_id
from deeplens.vectors.ports import SearchFilter

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TENANT = Tenant("tenant_a", "A", "active", "", "", "", ModelRef("deeplens-visual", "1", 512))
TENANT_ONLY = {"key": "tenant_id", "match": {"value": "tenant_a"}}


def record(**changes: Any) -> ImageRecord:
    fields: dict[str, Any] = {
        "id": "img_a",
        "file_name": "photo.jpg",
        "storage_path": "s3://bucket/images/img_a.jpg",
        "mime_type": "image/jpeg",
        "size_bytes": 10,
        "sha256": "",
        "uploaded_at": NOON,
        "updated_at": NOON,
        "generation": 2,
        "step": Step.EXTRACTED,
        "revision": 3,
        "tags": ("red", "blue"),
        "metadata": {"camera": "X100", "iso": 200},
        "width": 640,
        "height": 480,
    }
    return ImageRecord(**(fields | changes))


def test_a_point_carries_what_results_show_and_filters_read() -> None:
    assert payload_of(record(), TENANT) == {
        "tenant_id": "tenant_a",
        "image_id": "img_a",
        "file_name": "photo.jpg",
        "uploaded_at": "2026-11-20T12:00:00Z",
        "tags": ["red", "blue"],
        "metadata": {"camera": "X100", "iso": 200},
        "metadata_terms": ['camera="X100"', "iso=200"],
        "width": 640,
        "height": 480,
        "mime_type": "image/jpeg",
        "model": "deeplens-visual",
        "model_version": "1",
        "generation": 2,
        "revision": 3,
    }


def test_metadata_that_is_no_scalar_stays_in_the_database() -> None:
    given = {"list": [1], "object": {"a": 1}, "null": None, "nan": float("nan"), "kept": False}
    assert payload_of(record(metadata=given), TENANT)["metadata"] == {"kept": False}


def test_upload_times_are_written_in_utc() -> None:
    there = datetime(2026, 11, 20, 14, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert payload_of(record(uploaded_at=there), TENANT)["uploaded_at"] == "2026-11-20T12:30:00.000005Z"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (SearchFilter(), {"must": [TENANT_ONLY]}),
        (
            SearchFilter(tags=("red", "blue"), metadata={"iso": 200.0}),
            {
                "must": [
                    TENANT_ONLY,
                    {"key": "tags", "match": {"value": "red"}},
                    {"key": "tags", "match": {"value": "blue"}},
                    {"key": "metadata_terms", "match": {"value": "iso=200"}},
                ]
            },
        ),
        (
            SearchFilter(uploaded_from=NOON),
            {"must": [TENANT_ONLY, {"key": "uploaded_at", "range": {"gte": "2026-11-20T12:00:00Z"}}]},
        ),
        (
            SearchFilter(uploaded_before=NOON),
            {"must": [TENANT_ONLY, {"key": "uploaded_at", "range": {"lt": "2026-11-20T12:00:00Z"}}]},
        ),
        (
            SearchFilter(exclude_image_ids=("img_a",)),
            {"must": [TENANT_ONLY], "must_not": [{"has_id": [point_id("img_a")]}]},
        ),
    ],
)
def test_a_filter_names_the_tenant_and_each_condition(where: SearchFilter, expected: dict[str, Any]) -> None:
    assert filter_of(where, "tenant_a") == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("k", 1), ("k", 1.0), True),
        (("k", 1), ("k", True), False),
        (("k", 1), ("k", "1"), False),
        (("k", 'x"'), ('k="x', '"'), False),
        (("a=b", "c"), ("a", "b=c"), False),
        (("k", 2**70), ("k", 2**70 + 1), False),
    ],
)
def test_metadata_terms_are_equal_exactly_when_key_and_value_are(
    one: tuple[str, Any], other: tuple[str, Any], same: bool
) -> None:
    assert (metadata_term(*one) == metadata_term(*other)) is same


def test_an_image_has_the_same_point_in_every_release() -> None:
    assert point_id("img_01hzzzzzzzzzzzzzzzzzzzzzzz") == "1662b77a-fb62-53aa-91ef-4e41bf0d26d2"
    assert point_id("img_a") != point_id("img_b")
