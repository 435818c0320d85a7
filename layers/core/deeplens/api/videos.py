"""/v1/videos: upload, look, list, delete, and what stands for a video: poster and frames."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Header, Query, Response, UploadFile
from starlette.responses import RedirectResponse

from deeplens.api import cursor, video_views
from deeplens.api.auth import Caller, Reader, Writer
from deeplens.api.content import AN_HOUR, BINARY, PRESIGNED_FOR, SAFE, located
from deeplens.api.fields import VideoIdInPath, file_name_of, idempotency_key, metadata_of, tags_of
from deeplens.api.files import body_of
from deeplens.api.ids import keyed_id, new_id
from deeplens.api.lookup import live_video
from deeplens.api.metered import count_egress
from deeplens.api.parts import ApiParts, Parts, Traceparent
from deeplens.api.problems import responses
from deeplens.api.quotas import largest_file
from deeplens.api.video_deletions import DeleteVideo
from deeplens.api.video_uploads import AcceptVideoUpload, VideoUpload
from deeplens.contracts.videos import AcceptedVideo, DeletedVideo, FrameList, VideoListQuery, VideoPage, VideoView
from deeplens.errors import ApiError, ObjectNotFound
from deeplens.pipeline.accept_video import AcceptVideo
from deeplens.pipeline.keys import poster_key
from deeplens.videos import VideoQuery

router = APIRouter(prefix="/v1/videos", tags=["videos"])


@router.post(
    "",
    status_code=202,
    summary="Upload a video",
    responses={
        202: {
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "the video"},
                "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true for a repeat"},
            }
        },
        **responses(400, 410, 413, 415),
    },
)
def upload_video(
    caller: Writer,
    parts: Parts,
    traceparent: Traceparent,
    response: Response,
    file: Annotated[UploadFile, File(description="MP4, QuickTime, WebM, Matroska, AVI or MPEG-TS")],
    tags: Annotated[list[str], Form(description="repeated, or one JSON list", max_length=100)] = [],  # noqa: B006
    metadata: Annotated[str | None, Form(description="JSON object of scalars; frames have them as well")] = None,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="a repeat with the same key and file makes no second video"),
    ] = None,
) -> AcceptedVideo:
    """For files that fit into one request. Follow ``Location`` until its status is ``completed`` or ``failed``."""
    upload = _upload(parts, caller, file, tags, metadata, idempotency_key(key))
    accept = AcceptVideo(parts.videos, parts.pending_videos, parts.pending_videos_due, parts.clock)
    done = AcceptVideoUpload(accept, parts.stores, parts.videos, parts.images, parts.publisher, parts.clock)
    video, replayed = done(caller.tenant, upload, caller.limits, traceparent)
    response.headers["Location"] = video_views.path_of(video.id)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return video_views.accepted(video)


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
    store, key = located(parts, caller.tenant, video)
    count_egress(parts, caller, video.size_bytes)
    url = store.presign_get(key, PRESIGNED_FOR)
    return RedirectResponse(url, 307, {"Cache-Control": "no-store"})


@router.delete("/{video_id}", status_code=202, summary="Delete a video", responses=responses(404))
def delete_video(caller: Writer, parts: Parts, traceparent: Traceparent, video_id: VideoIdInPath) -> DeletedVideo:
    """The video and its frames are gone from every answer at once; what was stored follows. Safe to repeat."""
    DeleteVideo(parts.videos, parts.publisher, parts.clock)(caller.tenant, video_id, traceparent)
    return DeletedVideo(video_id=video_id)


def _upload(
    parts: ApiParts, caller: Caller, file: UploadFile, tags: list[str], metadata: str | None, key: str | None
) -> VideoUpload:
    from deeplens.video.sniff import HEAD_BYTES, sniff_video

    labels, facts = tags_of(tags), metadata_of(metadata, "body")
    body = body_of(file, largest_file(caller.limits, parts.settings))
    kind = sniff_video(body[:HEAD_BYTES])
    return VideoUpload(
        video_id=keyed_id("vid", caller.tenant.id, key) if key else new_id("vid", parts.clock.now()),
        keyed=key is not None,
        body=body,
        file_name=file_name_of(file.filename, kind.extension, "video"),
        mime_type=kind.mime_type,
        extension=kind.extension,
        tags=labels,
        metadata=facts,
    )
