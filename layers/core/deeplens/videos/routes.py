"""/v1/videos: status, list, delete, and the poster and frames of a video."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.responses import RedirectResponse

from deeplens.access.caller import Reader, Writer
from deeplens.access.request_counter import RequestCounter
from deeplens.common.ports import Clock
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http import cursor
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import VideoIdInPath
from deeplens.http.files import AN_HOUR, BINARY, PRESIGNED_FOR, SAFE
from deeplens.http.problems import responses, video_not_found
from deeplens.images.delete import delete
from deeplens.images.fields import media_query
from deeplens.images.keys import poster_key
from deeplens.images.lookup import locate
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.videos import views as video_views
from deeplens.videos.model import VideoRecord, VideoRepository
from deeplens.videos.schemas import DeletedVideo, FrameList, VideoListQuery, VideoPage, VideoView

router = APIRouter(prefix="/v1/videos", tags=["videos"])
Videos = Injected[VideoRepository]


@router.get("", summary="List videos", responses=responses())
def list_videos(caller: Reader, videos: Videos, query: Annotated[VideoListQuery, Query()]) -> VideoPage:
    """Videos newest first; deleted ones never."""
    found = videos.page(caller.tenant, media_query(query, cursor.VIDEO_ID))
    page, following = cursor.page_of(found, query.limit, lambda video: (video.uploaded_at, video.id))
    return VideoPage(videos=[video_views.detail(video) for video in page], next_cursor=following)


@router.get("/{video_id}", summary="Get the status of a video", responses=responses(404))
def get_video(caller: Reader, videos: Videos, video_id: VideoIdInPath) -> VideoView:
    return video_views.detail(live_video(videos, caller.tenant, video_id))


@router.get("/{video_id}/frames", summary="List frames of a video", responses=responses(404))
def list_frames(
    caller: Reader,
    videos: Videos,
    video_id: VideoIdInPath,
    begin: Annotated[float, Query(ge=0, allow_inf_nan=False, description="seconds")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> FrameList:
    """Frames from an offset on. For the next page, begin with the last frame's offset and skip that frame."""
    live_video(videos, caller.tenant, video_id)
    found = videos.frames(caller.tenant, video_id, begin, None, limit)
    return FrameList(frames=[video_views.frame(row) for row in found])


@router.get(
    "/{video_id}/poster",
    summary="Get the poster of a video",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": BINARY}, "description": "JPEG"}, **responses(404)},
)
def get_poster(
    caller: Reader,
    videos: Videos,
    stores: Injected[StoreResolver],
    counter: Injected[RequestCounter],
    video_id: VideoIdInPath,
) -> Response:
    """Available once the video has been probed."""
    live_video(videos, caller.tenant, video_id)
    try:
        body = stores.for_tenant(caller.tenant).get(poster_key(video_id))
    except ObjectNotFound:
        detail = f"{video_id} has no poster, or not yet; try again once its status is processing."
        raise ApiError(404, "content-not-found", "Content not found", detail) from None
    counter.count_egress(caller.tenant.id, len(body))
    return Response(body, headers={"Cache-Control": AN_HOUR, **SAFE}, media_type="image/jpeg")


@router.get(
    "/{video_id}/content",
    status_code=307,
    summary="Get the original file",
    response_class=Response,
    responses={307: {"description": "Follow Location, valid for five minutes"}, **responses(404, 409)},
)
def get_video_content(
    caller: Reader,
    videos: Videos,
    stores: Injected[StoreResolver],
    counter: Injected[RequestCounter],
    video_id: VideoIdInPath,
) -> Response:
    """Redirects to a URL that supports ranges, so that a player can start at a frame's offset."""
    video = live_video(videos, caller.tenant, video_id)
    store, key = locate(stores, caller.tenant, video)
    counter.count_egress(caller.tenant.id, video.size_bytes)
    return RedirectResponse(store.presign_get(key, PRESIGNED_FOR), 307, {"Cache-Control": "no-store"})


@router.delete("/{video_id}", status_code=202, summary="Delete a video", responses=responses(404))
def delete_video(
    caller: Writer, videos: Videos, clock: Injected[Clock], publish: Publishing, video_id: VideoIdInPath
) -> DeletedVideo:
    """The video and its frames disappear from every answer at once; stored data is removed shortly. Safe to repeat."""
    publish([delete(videos, caller.tenant, video_id, clock.now())])
    return DeletedVideo(video_id=video_id)


def live_video(videos: VideoRepository, tenant: Tenant, video_id: str) -> VideoRecord:
    """A video that is not deleted. Raises 404 for any other."""
    found = videos.find(tenant, video_id)
    if not isinstance(found, VideoRecord):
        raise video_not_found(video_id)
    return found
