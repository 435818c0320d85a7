"""/v1/events and /v1/images/{id}/events: what happened to the tenant's images, stage by stage."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import Reader
from deeplens.http import cursor
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath, validation_error
from deeplens.http.problems import responses
from deeplens.images import views
from deeplens.images.lookup import live_image
from deeplens.images.model import LogPosition, LogQuery, Step
from deeplens.images.ports import EventLog, ImageRepository
from deeplens.images.schemas import EventPage, ImageTimeline, LogQueryParameters

router = APIRouter(prefix="/v1", tags=["events"])


@router.get("/events", summary="List events of all images", responses=responses())
def list_events(caller: Reader, log: Injected[EventLog], query: Annotated[LogQueryParameters, Query()]) -> EventPage:
    """Every stage of every image with its time and reason, newest first. To follow new events, pass
    ``tailCursor`` as ``after``: each answer has the events recorded since, in order, and none is missed.
    Events of deleted images are deleted with them."""
    if query.cursor and query.after:
        raise validation_error("query", ("after",), "not together with cursor")
    # Read first: what is recorded while the page is read comes with the tail.
    settled = None if query.after else log.settled(caller.tenant)
    log_query = LogQuery(
        # One more than the limit tells whether there is a next page.
        limit=query.limit + 1,
        image_id=query.image_id,
        stage=query.stage,
        step=Step[query.status.upper()] if query.status else None,
        errors=query.errors,
        before=_read(query.cursor) if query.cursor else None,
        after=_read(query.after) if query.after else None,
    )
    found = log.page(caller.tenant, log_query)
    events, following = cursor.page_of(found, query.limit, lambda event: (event.recorded_at, str(event.id)))
    return EventPage(
        events=[views.logged(event) for event in events],
        next_cursor=None if query.after else following,
        tail_cursor=_write(settled) if settled else _write(events[-1].position) if events else query.after or "",
    )


@router.get("/images/{image_id}/events", summary="List events of an image", responses=responses(404))
def image_events(caller: Reader, images: Injected[ImageRepository], image_id: ImageIdInPath) -> ImageTimeline:
    live_image(images, caller.tenant, image_id)
    timeline = images.timeline(caller.tenant, image_id)
    return ImageTimeline(image_id=image_id, events=[views.stage(entry) for entry in timeline])


def _write(position: LogPosition) -> str:
    at, event_id = position
    return cursor.write((at, str(event_id)))


def _read(position: str) -> LogPosition:
    at, event_id = cursor.read(position, cursor.EVENT_ID)
    return at, int(event_id)
