"""/v1/search/image, /similar, /text and /v1/images/{id}/similar: nearest images of the caller's tenant."""

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from deeplens.access.caller import Caller, Reader
from deeplens.access.request_counter import RequestCounter
from deeplens.embedding.model import Thresholds
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath, validation_error
from deeplens.http.files import body_of, form_of
from deeplens.http.problems import responses
from deeplens.http.schemas import ModelVersion, view
from deeplens.images.fields import metadata_of
from deeplens.images.lookup import MERGED, live_image, resolve_merged
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.images.views import thumbnail_path
from deeplens.search.matching import FindMatches, Group
from deeplens.search.query_images import QueryImages, Vector, mean_direction
from deeplens.search.schemas import (
    MAX_QUERY_IMAGES,
    CombinedQuery,
    ImageSearchQuery,
    RegionQuery,
    SearchQuery,
    SearchResponse,
    SearchResult,
    SimilarToIds,
    TextQuery,
)
from deeplens.tenants.limits import MaxUploadBytes
from deeplens.vectors.ports import SearchFilter
from deeplens.videos.schemas import MatchingFrame, VideoMatch
from deeplens.videos.views import poster_path

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


class Search:
    """Find images nearest to vectors, count the search and answer with the results."""

    def __init__(self, find: FindMatches, counter: RequestCounter) -> None:
        self._find, self._counter = find, counter

    def __call__(
        self,
        caller: Caller,
        query: SearchQuery,
        vectors: Sequence[Vector],
        where: SearchFilter,
        watch: Stopwatch,
        exclude_sha256: Collection[str] = (),
    ) -> SearchResponse:
        tenant, vectors = caller.tenant, combined(vectors, query)
        with watch.lap("search"):
            groups = self._find(tenant, vectors, query.limit, query.threshold, where, exclude_sha256)
        self._counter.count_search(tenant.id)
        return SearchResponse(
            results=[result(rank, group, tenant.thresholds) for rank, group in enumerate(groups, 1)],
            model=ModelVersion(name=tenant.model.name, version=tenant.model.version),
            timings_ms=watch.laps,
        )


def filter_of(query: SearchQuery) -> SearchFilter:
    return SearchFilter(
        tags=tuple(query.tag),
        metadata=metadata_of(query.metadata, "query"),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
    )


def excluding(where: SearchFilter, images: Sequence[ImageRecord]) -> SearchFilter:
    """The filter without the images searched with, and without the other frames of their videos."""
    videos = {image.video_id for image in images if image.video_id}
    return replace(
        where, exclude_image_ids=tuple(image.id for image in images), exclude_video_ids=tuple(sorted(videos))
    )


def combined(vectors: Sequence[Vector], query: SearchQuery) -> Sequence[Vector]:
    """The vectors to compare with: all of them, or their mean."""
    if len(vectors) == 1 or not isinstance(query, CombinedQuery) or query.combine == "best":
        return vectors
    mean = mean_direction(vectors)
    if mean is None:
        raise validation_error("query", ("combine",), "these images have no average: their embeddings cancel out")
    return [mean]


def result(rank: int, group: Group, thresholds: Thresholds | None) -> SearchResult:
    """An image, or a video by its best frame, as it is in the row, with score and label."""
    match, image = group[0]
    return view(
        SearchResult,
        image,
        rank=rank,
        image_id=image.id,
        score=round(match.score, 6),
        match=thresholds.label(match.score) if thresholds else None,
        thumbnail_url=thumbnail_path(image.id, "small"),
        tags=list(image.tags),
        video=_video(image.video_id, group) if image.video_id else None,
    )


def _video(video_id: str, frames: Group) -> VideoMatch:
    return VideoMatch(
        video_id=video_id,
        offset_seconds=frames[0][1].frame_offset_seconds or 0.0,
        frames=[
            MatchingFrame(
                image_id=row.id,
                offset_seconds=row.frame_offset_seconds or 0.0,
                score=round(match.score, 6),
                thumbnail_url=thumbnail_path(row.id, "small"),
            )
            for match, row in frames
        ],
        poster_url=poster_path(video_id),
    )


@router.post(
    "/search/image",
    summary="Search by images or parts of them",
    responses=responses(400, 413, 415),
    form_limits=form_of(MAX_QUERY_IMAGES),
)
def search_by_image(
    caller: Reader,
    query_images: Injected[QueryImages],
    search: Injected[Search],
    max_upload_bytes: Injected[MaxUploadBytes],
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
        bodies = [body_of(upload, max_upload_bytes) for upload in file]
        crops = query_images.crops_of(bodies, query.region)
    with watch.lap("embed"):
        vectors = query_images.embed(caller.tenant, crops)
    digests = {hashlib.sha256(body).hexdigest() for body in bodies} if query.exclude_self else ()
    return search(caller, query, vectors, where, watch, digests)


@router.post(
    "/search/similar", summary="Search by several images of the collection", responses=responses(400, 404, 409)
)
def search_by_ids(
    caller: Reader,
    images: Injected[ImageRepository],
    query_images: Injected[QueryImages],
    search: Injected[Search],
    query: Annotated[CombinedQuery, Query()],
    body: SimilarToIds,
) -> SearchResponse:
    """Images nearest to those named, which are left out themselves."""
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("fetch"):
        resolved = [resolve_merged(images, caller.tenant, image_id) for image_id in body.image_ids]
        distinct = list({image.id: image for image in resolved}.values())
        vectors = [query_images.vector_of(caller.tenant, image) for image in distinct]
    return search(caller, query, vectors, excluding(where, distinct), watch)


@router.post("/search/text", summary="Search by words", responses=responses(400, 409))
def search_by_text(
    caller: Reader,
    query_images: Injected[QueryImages],
    search: Injected[Search],
    query: Annotated[SearchQuery, Query()],
    body: TextQuery,
) -> SearchResponse:
    """Images nearest to a text, where the tenant's model embeds texts beside images, as CLIP does."""
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("embed"):
        vector = query_images.embed_text(caller.tenant, body.text)
    return search(caller, query, [vector], where, watch)


@router.get(
    "/images/{image_id}/similar",
    tags=["images"],
    summary="Search by an image's id",
    responses=MERGED | responses(404, 409),
)
def similar_images(
    caller: Reader,
    images: Injected[ImageRepository],
    query_images: Injected[QueryImages],
    search: Injected[Search],
    image_id: ImageIdInPath,
    query: Annotated[RegionQuery, Query()],
) -> SearchResponse:
    """Images nearest to one that is already searchable, or to parts of it; itself is left out."""
    watch, where = Stopwatch(), filter_of(query)
    with watch.lap("fetch"):
        image = live_image(images, caller.tenant, image_id)
        vectors = [query_images.vector_of(caller.tenant, image)]
    if query.region:
        with watch.lap("embed"):
            vectors = query_images.embed_regions(caller.tenant, image, query.region)
    return search(caller, query, vectors, excluding(where, [image]), watch)
