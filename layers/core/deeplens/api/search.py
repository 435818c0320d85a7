"""/v1/search/image and /v1/images/{id}/similar: nearest images of the caller's tenant."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from deeplens.api import views
from deeplens.api.auth import Reader
from deeplens.api.fields import ImageIdInPath, metadata_of
from deeplens.api.files import body_of
from deeplens.api.lookup import live_image
from deeplens.api.matching import FindMatches
from deeplens.api.parts import ApiParts, Parts
from deeplens.api.problems import responses
from deeplens.contracts.api import ModelVersion, SearchQuery, SearchResponse
from deeplens.domain import ImageRecord, SearchFilter, Tenant
from deeplens.errors import ApiError

router = APIRouter(prefix="/v1", tags=["search"])


class Stopwatch:
    """Milliseconds per step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}

    @contextmanager
    def lap(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.laps[step] = round((time.perf_counter() - started) * 1000, 2)


@router.post("/search/image", summary="Search by an image", responses=responses(400, 413, 415))
def search_by_image(
    caller: Reader,
    parts: Parts,
    query: Annotated[SearchQuery, Query()],
    file: Annotated[UploadFile, File(description="the query image; it is not kept")],
) -> SearchResponse:
    """Images nearest to the one sent, which is prepared exactly as an upload is."""
    from deeplens.imaging import standardise

    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("standardise"):
        image = standardise(body_of(file, parts.settings), parts.limits)
    with watch.lap("embed"):
        vector = parts.embedder.embed([image.jpeg], caller.tenant.model)[0].tolist()
    return _found(parts, caller.tenant, vector, query, where, watch)


@router.get(
    "/images/{image_id}/similar", tags=["images"], summary="Search by an image's id", responses=responses(404, 409)
)
def similar_images(
    caller: Reader, parts: Parts, image_id: ImageIdInPath, query: Annotated[SearchQuery, Query()]
) -> SearchResponse:
    """Images nearest to one that is already searchable; itself is left out."""
    watch, where = Stopwatch(), filter_of(query, exclude=(image_id,))
    image = live_image(parts.images, caller.tenant, image_id)
    with watch.lap("fetch"):
        vector = parts.index.vector_of(caller.tenant, image_id)
    if vector is None:
        raise _not_searchable(image)
    return _found(parts, caller.tenant, vector, query, where, watch)


def filter_of(query: SearchQuery, exclude: tuple[str, ...] = ()) -> SearchFilter:
    return SearchFilter(
        tags=tuple(query.tag),
        metadata=metadata_of(query.metadata, "query"),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
        exclude_image_ids=exclude,
    )


def _found(
    parts: ApiParts,
    tenant: Tenant,
    vector: Sequence[float],
    query: SearchQuery,
    where: SearchFilter,
    watch: Stopwatch,
) -> SearchResponse:
    with watch.lap("search"):
        matches = FindMatches(parts.index, parts.images)(tenant, vector, query.limit, query.threshold, where)
    return SearchResponse(
        results=[views.result(rank, match, image) for rank, (match, image) in enumerate(matches, start=1)],
        model=ModelVersion(name=tenant.model.name, version=tenant.model.version),
        timings_ms=watch.laps,
    )


def _not_searchable(image: ImageRecord) -> ApiError:
    status = views.STATUS[image.step]
    detail = f"{image.id} is {status}; it can be compared once it is completed."
    return ApiError(409, "image-not-searchable", "Image not searchable", detail)
