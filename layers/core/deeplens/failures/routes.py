"""/v1/admin/dead-letters: list, replay and discard. /v1/images/{id}/retry: process a failed image again."""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from deeplens.access.caller import Operator, Writer
from deeplens.common.ports import Clock
from deeplens.errors import ApiError, BrokerUnavailable
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetters, replay_blocker
from deeplens.failures.replay import REPLAYABLE, UNDELIVERED, Replay, RetryImage, Verdict
from deeplens.failures.schemas import (
    DiscardRequest,
    LetterDetail,
    LetterFilters,
    LetterGroups,
    LetterGroupView,
    LetterPage,
    LetterQuery,
    LetterView,
    RefusedReplay,
    ReplayOptions,
    ReplayReport,
    ReplayRequest,
)
from deeplens.http import cursor
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images import views
from deeplens.images.lookup import MERGED_CHANGE, live_image
from deeplens.images.ports import ImageRepository
from deeplens.images.schemas import AcceptedImage

router = APIRouter(prefix="/v1/admin/dead-letters", tags=["dead letters"])
retry_router = APIRouter(prefix="/v1/images", tags=["images"])
MAX_GROUPS, MAX_TEXT_CHARACTERS, MAX_NESTED = 200, 2000, 200
Letters = Injected[DeadLetters]


def dead_letter_in_path(
    _: Operator, dead_letters: Letters, dead_letter_id: Annotated[str, Path(examples=["dlq_0f3a9b1c2d4e"])]
) -> DeadLetterEntry:
    # PostgreSQL rejects NUL in text; such an id is unknown.
    storable = "\x00" not in dead_letter_id and dead_letter_id.isprintable()
    letters = dead_letters.page(DeadLetterFilter(ids=(dead_letter_id,)), None, 1) if storable else []
    if not letters:
        raise ApiError(404, "dead-letter-not-found", "Dead letter not found", f"There is no {dead_letter_id[:80]!r}.")
    return letters[0]


InPath = Annotated[DeadLetterEntry, Depends(dead_letter_in_path)]


@router.get("", summary="List dead letters", responses=responses())
def list_letters(_: Operator, dead_letters: Letters, query: Annotated[LetterQuery, Query()]) -> LetterPage:
    """Newest failure first, over all tenants."""
    after = cursor.read(query.cursor, cursor.LETTER_ID) if query.cursor else None
    letters = dead_letters.page(filter_of(query), after, query.limit + 1)
    page, following = cursor.page_of(letters, query.limit, lambda letter: (letter.failed_at, letter.id))
    return LetterPage(dead_letters=[letter_view(LetterView, letter) for letter in page], next_cursor=following)


@router.get("/groups", summary="Count dead letters by error code and stage", responses=responses())
def group_letters(_: Operator, dead_letters: Letters, query: Annotated[LetterFilters, Query()]) -> LetterGroups:
    groups = dead_letters.groups(filter_of(query), MAX_GROUPS)
    return LetterGroups(groups=[view(LetterGroupView, group) for group in groups])


@router.post("/replay", summary="Replay dead letters", responses=responses())
def replay_letters(
    _: Operator, dead_letters: Letters, replay: Injected[Replay], request: ReplayRequest
) -> ReplayReport:
    """Each record goes back onto its topic; failed images are in progress again. Repeating the request is safe.

    A letter that has failed again after three replays is refused unless forced.
    """
    where = filter_of(request, ids=tuple(request.ids), state=None if request.ids else "open")
    limit = max(request.limit, len(request.ids))
    letters = dead_letters.page(where, None, limit + 1)
    verdicts = replay(letters[:limit], force=request.force, dry_run=request.dry_run)
    known = {letter.id for letter in letters}
    unknown = [RefusedReplay(dead_letter_id=id, reason="no such letter") for id in request.ids if id not in known]
    return report(verdicts, unknown, dry_run=request.dry_run, more=len(letters) > limit)


@router.get("/{dead_letter_id}", summary="One dead letter with its event", responses=responses(404))
def letter_detail(letter: InPath) -> LetterDetail:
    return detail(letter)


@router.post("/{dead_letter_id}/replay", summary="Replay a dead letter", responses=responses(404, 409))
def replay_letter(letter: InPath, replay: Injected[Replay], request: ReplayOptions | None = None) -> ReplayReport:
    options = request or ReplayOptions()
    (verdict,) = replay([letter], force=options.force, dry_run=options.dry_run)
    if verdict.refused == UNDELIVERED:
        raise BrokerUnavailable("the record was not delivered", retry_after_seconds=2)
    if verdict.refused and not options.dry_run:
        raise ApiError(409, "dead-letter-not-replayable", "Dead letter not replayable", f"{verdict.refused}.")
    return report([verdict], [], dry_run=options.dry_run, more=False)


@router.post("/{dead_letter_id}/discard", summary="Discard a dead letter", responses=responses(404, 409))
def discard_letter(
    letter: InPath, dead_letters: Letters, clock: Injected[Clock], request: DiscardRequest
) -> LetterDetail:
    """The letter is kept with its reason, and is not replayed unless forced."""
    if not dead_letters.discard(letter.id, request.reason, clock.now()):
        raise ApiError(409, "dead-letter-settled", "Dead letter settled", f"It was {letter.state} already.")
    return detail(next(iter(dead_letters.page(DeadLetterFilter(ids=(letter.id,)), None, 1)), letter))


@retry_router.post(
    "/{image_id}/retry",
    status_code=202,
    summary="Process a failed image again",
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the image"}}},
        **MERGED_CHANGE,
        **responses(404, 409),
    },
)
def retry_image(
    caller: Writer,
    images: Injected[ImageRepository],
    retry: Injected[RetryImage],
    publish: Publishing,
    response: Response,
    image_id: ImageIdInPath,
) -> AcceptedImage:
    """Process the image from the start. 409 unless it has failed, so a repeat is safe."""
    image = live_image(images, caller.tenant, image_id)
    publish(retry(caller.tenant, image))
    response.headers["Location"] = views.path_of(image.id)
    return views.accepted(image)


def filter_of(selection: LetterFilters | ReplayRequest, **more: Any) -> DeadLetterFilter:
    return DeadLetterFilter(**selection.model_dump(include=set(LetterFilters.model_fields)), **more)


def report(verdicts: list[Verdict], unknown: list[RefusedReplay], *, dry_run: bool, more: bool) -> ReplayReport:
    refused = [
        RefusedReplay(dead_letter_id=verdict.letter.id, reason=verdict.refused)
        for verdict in verdicts
        if verdict.refused
    ]
    replayed = len(verdicts) - len(refused)
    return ReplayReport(dry_run=dry_run, replayed=replayed, refused=[*refused, *unknown], more=more)


def letter_view[V: LetterView](schema: type[V], letter: DeadLetterEntry, **content: Any) -> V:
    return view(
        schema,
        letter,
        dead_letter_id=letter.id,
        code=letter.error_code,
        message=letter.error_message,
        replays=letter.replays_in_all,
        topic=letter.source.topic if letter.source else None,
        replayable=replay_blocker(letter, REPLAYABLE, force=True) is None,
        **content,
    )


def detail(letter: DeadLetterEntry) -> LetterDetail:
    if letter.source is None:
        return letter_view(LetterDetail, letter)
    position = {name: getattr(letter.source, name) for name in ("partition", "offset", "event_id")}
    return letter_view(LetterDetail, letter, **position, **content_of(letter.source.value))


def content_of(value: str | None) -> dict[str, Any]:
    """A record's value as JSON; as text if it is not valid JSON."""
    if value is None:
        return {}
    try:
        raw = b64decode(value)
    except NotBase64:
        return {"text": value[:MAX_TEXT_CHARACTERS]}
    text = {"text": raw[: 4 * MAX_TEXT_CHARACTERS].decode(errors="replace")[:MAX_TEXT_CHARACTERS]}
    if raw.count(b"[") + raw.count(b"{") > MAX_NESTED:
        return text
    try:
        event = json.loads(raw, parse_constant=str)  # noqa: TID251 - its nesting was counted
        # Lone surrogates parse, but cannot be encoded in the answer.
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:
        return text
    return {"event": event}
