"""/v1/videos: upload, look, list, delete, and what stands for a video: poster and frames."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.responses import RedirectResponse

from deeplens.access.caller import Reader, Writer
from deeplens.access.metered import count_egress
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.http import cursor
from deeplens.http.content import AN_HOUR, BINARY, PRESIGNED_FOR, SAFE
from deeplens.http.dependencies import Parts, Traceparent
from deeplens.http.fields import VideoIdInPath
from deeplens.http.problems import responses
from deeplens.images.content import locate
from deeplens.videos import views as video_views
from deeplens.videos.delete import DeleteVideo
from deeplens.videos.keys import poster_key
from deeplens.videos.lookup import live_video
from deeplens.videos.model import VideoQuery
from deeplens.videos.schemas import DeletedVideo, FrameList, VideoListQuery, VideoPage, VideoView

router = APIRouter(prefix="/v1/videos", tags=["videos"])


@router.get("", summary="List videos", responses=responses())
def list_videos(caller: Reader, parts: Parts, query: Annotated[VideoListQuery, Query()]) -> VideoPage:
    """Videos newest first; deleted ones never."""
    wanted = VideoQuery(
        # One more than asked for tells whether there is a next page.
        limit=query.limit + 1,
        statuses=tuple(query.status),
        tags=tuple(query.tag),
        uploaded_from=query.uploaded_from,
        uploaded_before=query.uploaded_before,
        after=cursor.read(query.cursor, cursor.VIDEO_ID) if query.cursor else None,
    )
    found = parts.videos.page(caller.tenant, wanted)
    shown, more = found[: query.limit], len(found) > query.limit
    return VideoPage(
        videos=[video_views.shown(video) for video in shown],
        next_cursor=cursor.write((shown[-1].uploaded_at, shown[-1].id)) if more else None,
    )


@router.get("/{video_id}", summary="Status of a video", responses=responses(404))
def get_video(caller: Reader, parts: Parts, video_id: VideoIdInPath) -> VideoView:
    return video_views.shown(live_video(parts.videos, caller.tenant, video_id))


@router.get("/{video_id}/frames", summary="Frames of a video", responses=responses(404))
def list_frames(
    caller: Reader,
    parts: Parts,
    video_id: VideoIdInPath,
    begin: Annotated[float, Query(ge=0, allow_inf_nan=False, description="seconds")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> FrameList:
    """From an offset on. For the next page take the last one's offset and leave that frame out."""
    live_video(parts.videos, caller.tenant, video_id)
    found = parts.videos.frames(caller.tenant, video_id, begin, None, limit)
    return FrameList(frames=[video_views.frame(row) for row in found])


@router.get(
    "/{video_id}/poster",
    summary="A picture of the video",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": BINARY}, "description": "JPEG"}, **responses(404)},
)
def get_poster(caller: Reader, parts: Parts, video_id: VideoIdInPath) -> Response:
    """There once the file has been looked into."""
    live_video(parts.videos, caller.tenant, video_id)
    try:
        body = parts.stores.for_tenant(caller.tenant).get(poster_key(video_id))
    except ObjectNotFound:
        detail = f"{video_id} has no poster, or not yet."
        raise ApiError(404, "content-not-found", "Content not found", detail) from None
    count_egress(parts, caller, len(body))
    return Response(body, headers={"Cache-Control": AN_HOUR, **SAFE}, media_type="image/jpeg")


@router.get(
    "/{video_id}/content",
    status_code=307,
    summary="The original file",
    response_class=Response,
    responses={307: {"description": "Follow Location, valid for five minutes"}, **responses(404, 409)},
)
def get_video_content(caller: Reader, parts: Parts, video_id: VideoIdInPath) -> Response:
    """A URL that takes ranges, so that a player can start at a frame's offset."""
    video = live_video(parts.videos, caller.tenant, video_id)
    store, key = locate(parts.stores, caller.tenant, video)
    count_egress(parts, caller, video.size_bytes)
    url = store.presign_get(key, PRESIGNED_FOR)
    return RedirectResponse(url, 307, {"Cache-Control": "no-store"})


@router.delete("/{video_id}", status_code=202, summary="Delete a video", responses=responses(404))
def delete_video(caller: Writer, parts: Parts, traceparent: Traceparent, video_id: VideoIdInPath) -> DeletedVideo:
    """The video and its frames are gone from every answer at once; what was stored follows. Safe to repeat."""
    DeleteVideo(parts.videos, parts.publisher, parts.clock)(caller.tenant, video_id, traceparent)
    return DeletedVideo(video_id=video_id)
