"""/v1/search/image, /similar, /text and /v1/images/{id}/similar: nearest images of the caller's tenant."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from deeplens.access.caller import Reader
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath
from deeplens.http.files import body_of, form_of
from deeplens.http.problems import responses
from deeplens.images.lookup import MERGED, live_image, resolve_merged
from deeplens.images.ports import ImageRepository
from deeplens.search.answer import Search, Stopwatch, excluding, filter_of
from deeplens.search.query_images import QueryImages
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
from deeplens.tenants.limits import MaxUploadBytes

router = APIRouter(prefix="/v1", tags=["search"])


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
