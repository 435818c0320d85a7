"""The answer that every kind of search gives."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from deeplens.access.caller import Caller
from deeplens.access.request_counter import RequestCounter
from deeplens.embedding.model import Thresholds
from deeplens.http.fields import validation_error
from deeplens.http.schemas import ModelVersion, view
from deeplens.images.fields import metadata_of
from deeplens.images.model import ImageRecord
from deeplens.images.views import thumbnail_path
from deeplens.search.matching import FindMatches, Group
from deeplens.search.query_images import Vector, mean_direction
from deeplens.search.schemas import CombinedQuery, SearchQuery, SearchResponse, SearchResult
from deeplens.vectors.ports import SearchFilter
from deeplens.videos.schemas import MatchingFrame, VideoMatch
from deeplens.videos.views import poster_path


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
