"""/v1/admin/dead-letters: what was given up, found, sent again, discarded."""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from deeplens.access.caller import Operator
from deeplens.errors import ApiError, BrokerUnavailable
from deeplens.failures.model import KeptLetter, LetterFilter, refusal
from deeplens.failures.renew import Renew
from deeplens.failures.replay import REPLAYABLE, UNDELIVERED, Replay, Verdict
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
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses

router = APIRouter(prefix="/v1/admin/dead-letters", tags=["dead letters"])
MOST_GROUPS, MOST_TEXT, MOST_NESTED = 200, 2000, 200


def letter_in_path(
    parts: Admin, _: Operator, dead_letter_id: Annotated[str, Path(examples=["dlq_0f3a9b1c2d4e"])]
) -> KeptLetter:
    found = parts.dead_letters.page(LetterFilter(ids=(dead_letter_id,)), None, 1) if printable(dead_letter_id) else []
    if not found:
        raise ApiError(404, "dead-letter-not-found", "Dead letter not found", f"There is no {dead_letter_id[:80]!r}.")
    return found[0]


def printable(value: str) -> bool:
    """What cannot be stored as text cannot be an id."""
    return "\x00" not in value and value.isprintable()


def replay_of(parts: Admin) -> Replay:
    renew = Renew(parts.images, parts.pending, parts.pending_due, parts.clock)
    return Replay(parts.tenants, parts.images, renew, parts.dead_letters, parts.publisher, parts.clock)


InPath = Annotated[KeptLetter, Depends(letter_in_path)]
Replays = Annotated[Replay, Depends(replay_of)]


@router.get("", summary="List dead letters", responses=responses())
def list_letters(parts: Admin, _: Operator, query: Annotated[LetterQuery, Query()]) -> LetterPage:
    """Newest failure first, over all tenants."""
    after = cursor.read(query.cursor, cursor.LETTER_ID) if query.cursor else None
    found = parts.dead_letters.page(where(query), after, query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    last = (page[-1].entry.failed_at, page[-1].entry.id) if more else None
    return LetterPage(
        dead_letters=[LetterView(**shown(letter)) for letter in page], next_cursor=cursor.write(last) if last else None
    )


@router.get("/groups", summary="Count dead letters by error code and stage", responses=responses())
def group_letters(parts: Admin, _: Operator, query: Annotated[LetterFilters, Query()]) -> LetterGroups:
    found = parts.dead_letters.groups(where(query), MOST_GROUPS)
    return LetterGroups(
        groups=[
            LetterGroupView(code=one.code, stage=one.stage, count=one.count, oldest=one.oldest, newest=one.newest)
            for one in found
        ]
    )


@router.post("/replay", summary="Send dead letters again", responses=responses())
def replay_letters(parts: Admin, _: Operator, replay: Replays, wanted: ReplayRequest) -> ReplayReport:
    """Each record goes back onto its topic; failed images are in work again. Repeating it is safe.

    One that has failed again after three replays is refused unless forced.
    """
    narrowed = wanted.model_dump(include={"tenant_id", "code", "stage", "failed_from", "failed_before"})
    chosen = LetterFilter(ids=tuple(wanted.ids), state=None if wanted.ids else "open", **narrowed)
    limit = max(wanted.limit, len(wanted.ids))
    found = parts.dead_letters.page(chosen, None, limit + 1)
    verdicts = replay(found[:limit], force=wanted.force, dry_run=wanted.dry_run)
    known = {letter.entry.id for letter in found}
    unknown = [RefusedReplay(dead_letter_id=one, reason="no such letter") for one in wanted.ids if one not in known]
    return report(verdicts, unknown, dry_run=wanted.dry_run, more=len(found) > limit)


@router.get("/{dead_letter_id}", summary="One dead letter with its event", responses=responses(404))
def letter_detail(letter: InPath) -> LetterDetail:
    return detail(letter)


@router.post("/{dead_letter_id}/replay", summary="Send a dead letter again", responses=responses(404, 409))
def replay_letter(letter: InPath, replay: Replays, wanted: ReplayOptions | None = None) -> ReplayReport:
    options = wanted or ReplayOptions()
    (verdict,) = replay([letter], force=options.force, dry_run=options.dry_run)
    if verdict.refused == UNDELIVERED:
        raise BrokerUnavailable("the record was not delivered", retry_after_seconds=2)
    if verdict.refused and not options.dry_run:
        raise ApiError(409, "dead-letter-not-replayable", "Dead letter not replayable", f"{verdict.refused}.")
    return report([verdict], [], dry_run=options.dry_run, more=False)


@router.post("/{dead_letter_id}/discard", summary="Discard a dead letter", responses=responses(404, 409))
def discard_letter(parts: Admin, letter: InPath, wanted: DiscardRequest) -> LetterDetail:
    """It stays on record with its reason, and is not replayed unless forced."""
    if not parts.dead_letters.discard(letter.entry.id, wanted.reason, parts.clock.now()):
        raise ApiError(409, "dead-letter-settled", "Dead letter settled", f"It was {letter.state} already.")
    return detail(latest(parts, letter))


def latest(parts: AdminParts, letter: KeptLetter) -> KeptLetter:
    return next(iter(parts.dead_letters.page(LetterFilter(ids=(letter.entry.id,)), None, 1)), letter)


def where(query: LetterFilters) -> LetterFilter:
    return LetterFilter(**query.model_dump(include=set(LetterFilters.model_fields)))


def report(verdicts: list[Verdict], unknown: list[RefusedReplay], *, dry_run: bool, more: bool) -> ReplayReport:
    refused = [RefusedReplay(dead_letter_id=one.letter.entry.id, reason=one.refused) for one in verdicts if one.refused]
    replayed = len(verdicts) - len(refused)
    return ReplayReport(dry_run=dry_run, replayed=replayed, refused=[*refused, *unknown], more=more)


def shown(letter: KeptLetter) -> dict[str, Any]:
    entry = letter.entry
    return {
        "dead_letter_id": entry.id,
        "state": letter.state,
        "tenant_id": entry.tenant_id,
        "image_id": entry.image_id,
        "stage": entry.stage,
        "code": entry.error_code,
        "message": entry.error_message,
        "attempt": entry.attempt,
        "replays": letter.replays_in_all,
        "failed_at": entry.failed_at,
        "settled_at": letter.settled_at,
        "reason": letter.reason,
        "topic": entry.source.topic if entry.source else None,
        "replayable": refusal(letter, REPLAYABLE, force=True) is None,
    }


def detail(letter: KeptLetter) -> LetterDetail:
    source = letter.entry.source
    if source is None:
        return LetterDetail(**shown(letter))
    place = {"partition": source.partition, "offset": source.offset, "event_id": source.event_id}
    return LetterDetail(**shown(letter), **place, **content(source.value))


def content(value: str | None) -> dict[str, Any]:
    """A record's value as JSON, or as the text that it is instead."""
    if value is None:
        return {}
    try:
        raw = b64decode(value)
    except NotBase64:
        return {"text": value[:MOST_TEXT]}
    text = {"text": raw[: 4 * MOST_TEXT].decode(errors="replace")[:MOST_TEXT]}
    if raw.count(b"[") + raw.count(b"{") > MOST_NESTED:
        return text
    try:
        event = json.loads(raw, parse_constant=str)
        # Halves of surrogate pairs parse, but cannot be answered.
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:
        return text
    return {"event": event}
