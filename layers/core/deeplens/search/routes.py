"""/v1/search/image, /similar, /text and /v1/images/{id}/similar: nearest images of the caller's tenant."""

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from deeplens.access.caller import Caller, Reader
from deeplens.access.metered import count_search
from deeplens.errors import ApiError
from deeplens.http.dependencies import ApiParts, Parts
from deeplens.http.fields import ImageIdInPath, refusal
from deeplens.http.files import body_of, form_of
from deeplens.http.problems import responses
from deeplens.http.schemas import ModelVersion
from deeplens.images import views
from deeplens.images.fields import metadata_of
from deeplens.images.lookup import MERGED, answering_image, live_image
from deeplens.images.model import ImageRecord
from deeplens.search.matching import FindMatches
from deeplens.search.query_images import crops_of, mean_direction, stored_jpeg
from deeplens.search.schemas import (
    MAX_QUERY_IMAGES,
    CombinedQuery,
    ImageSearchQuery,
    RegionQuery,
    SearchQuery,
    SearchResponse,
    SimilarToIds,
    TextQuery,
)
from deeplens.search.views import match, result
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import SearchFilter

router = APIRouter(prefix="/v1", tags=["search"])
type Vector = Sequence[float]


class Stopwatch:
    """Milliseconds per step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}

    @contextmanager
    def lap(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.laps[step] = round((time.perf_counter() - started) * 1000, 2)


@router.post(
    "/search/image",
    summary="Search by images or parts of them",
    responses=responses(400, 413, 415),
    form_limits=form_of(MAX_QUERY_IMAGES),
)
def search_by_image(
    caller: Reader,
    parts: Parts,
    query: Annotated[ImageSearchQuery, Query()],
    file: Annotated[
        list[UploadFile],
        File(description="the query image, repeatable; it is not kept", min_length=1, max_length=MAX_QUERY_IMAGES),
    ],
) -> SearchResponse:
    """Images nearest to the one sent, which is prepared exactly as an upload is.

    Several files, or several regions, are several query images, as many as eight; ``combine`` says how they count.
    """
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("standardise"):
        bodies = [body_of(one, parts.settings.max_upload_bytes) for one in file]
        crops = crops_of(bodies, query.region, parts.limits)
    with watch.lap("embed"):
        vectors = parts.embedder.embed(crops, caller.tenant.model).tolist()
    same = {hashlib.sha256(body).hexdigest() for body in bodies} if query.exclude_self else ()
    return found(parts, caller, combined(vectors, query), query, where, watch, same)


@router.post(
    "/search/similar", summary="Search by several images of the collection", responses=responses(400, 404, 409)
)
def search_by_ids(
    caller: Reader, parts: Parts, query: Annotated[CombinedQuery, Query()], wanted: SimilarToIds
) -> SearchResponse:
    """Images nearest to those named, which are left out themselves."""
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("fetch"):
        images = {one.id: one for one in (answering_image(parts.images, caller.tenant, i) for i in wanted.image_ids)}
        known = [_searched_by(parts, caller.tenant, image) for image in images.values()]
    vectors, where = [vector for _, vector in known], without(where, [image for image, _ in known])
    return found(parts, caller, combined(vectors, query), query, where, watch)


@router.post("/search/text", summary="Search by words", responses=responses(400, 409))
def search_by_text(
    caller: Reader, parts: Parts, query: Annotated[SearchQuery, Query()], wanted: TextQuery
) -> SearchResponse:
    """Images nearest to a text, where the tenant's model embeds texts beside images, as CLIP does."""
    watch, where = Stopwatch(), filter_of(query)
    if not caller.tenant.text:
        raise _images_only(caller.tenant)
    with watch.lap("embed"):
        vector = parts.embedder.embed_text(wanted.text, caller.tenant.model).tolist()
    return found(parts, caller, [vector], query, where, watch)


@router.get(
    "/images/{image_id}/similar",
    tags=["images"],
    summary="Search by an image's id",
    responses=MERGED | responses(404, 409),
)
def similar_images(
    caller: Reader, parts: Parts, image_id: ImageIdInPath, query: Annotated[RegionQuery, Query()]
) -> SearchResponse:
    """Images nearest to one that is already searchable, or to parts of it; itself is left out."""
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("fetch"):
        image, vector = _searched_by(parts, caller.tenant, live_image(parts.images, caller.tenant, image_id))
    vectors, where = [vector], without(where, [image])
    if query.region:
        with watch.lap("embed"):
            crops = crops_of([stored_jpeg(parts.stores, caller.tenant, image)], query.region, parts.limits, image)
            vectors = parts.embedder.embed(crops, caller.tenant.model).tolist()
    return found(parts, caller, combined(vectors, query), query, where, watch)


def filter_of(query: SearchQuery) -> SearchFilter:
    return SearchFilter(
        tags=tuple(query.tag),
        metadata=metadata_of(query.metadata, "query"),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
    )


def without(where: SearchFilter, images: Sequence[ImageRecord]) -> SearchFilter:
    """An image never finds itself, and a frame no other of its video."""
    videos = {image.video_id for image in images if image.video_id}
    return replace(
        where, exclude_image_ids=tuple(image.id for image in images), exclude_video_ids=tuple(sorted(videos))
    )


def combined(vectors: Sequence[Vector], query: CombinedQuery) -> Sequence[Vector]:
    """The vectors to compare with."""
    if query.combine == "best" or len(vectors) == 1:
        return vectors
    mean = mean_direction(vectors)
    if mean is None:
        raise refusal("query", ("combine",), "these images have no average: they point in opposite directions")
    return [mean]


def found(
    parts: ApiParts,
    caller: Caller,
    vectors: Sequence[Vector],
    query: SearchQuery,
    where: SearchFilter,
    watch: Stopwatch,
    unlike: Collection[str] = (),
) -> SearchResponse:
    """The answer of every search."""
    tenant = caller.tenant
    with watch.lap("search"):
        find = FindMatches(parts.index, parts.images)
        matches = find(tenant, vectors, query.limit, query.threshold, where, unlike)
    count_search(parts, caller)
    return SearchResponse(
        results=[result(rank, *one[0], tenant.thresholds, match(one)) for rank, one in enumerate(matches, 1)],
        model=ModelVersion(name=tenant.model.name, version=tenant.model.version),
        timings_ms=watch.laps,
    )


def _searched_by(parts: ApiParts, tenant: Tenant, image: ImageRecord) -> tuple[ImageRecord, Vector]:
    vector = parts.index.vector_of(tenant, image.id)
    if vector is None:
        raise _not_searchable(image)
    return image, vector


def _images_only(tenant: Tenant) -> ApiError:
    model = f"{tenant.model.name} {tenant.model.version}"
    detail = (
        f"{model} embeds images only. Have your operator add a model with a text tower, e.g. clip-vit-base, and roll "
        f"it out: POST /v1/admin/tenants/{tenant.id}/models."
    )
    return ApiError(409, "text-unsupported", "Text search not supported by the model", detail)


def _not_searchable(image: ImageRecord) -> ApiError:
    status = views.STATUS[image.step]
    detail = f"{image.id} is {status}; it can be compared once it is completed."
    return ApiError(409, "image-not-searchable", "Image not searchable", detail)
