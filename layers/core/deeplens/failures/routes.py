"""/v1/admin/dead-letters: list, replay and discard dead letters."""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from deeplens.access.caller import Operator
from deeplens.common.ports import Clock
from deeplens.errors import ApiError, BrokerUnavailable
from deeplens.failures.model import DeadLetterFilter, DeadLetters, KeptDeadLetter, replay_blocker
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
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses

router = APIRouter(prefix="/v1/admin/dead-letters", tags=["dead letters"])
MAX_GROUPS, MAX_TEXT, MAX_NESTED = 200, 2000, 200


Letters = Injected[DeadLetters]


def dead_letter_in_path(
    _: Operator, dead_letters: Letters, dead_letter_id: Annotated[str, Path(examples=["dlq_0f3a9b1c2d4e"])]
) -> KeptDeadLetter:
    # What cannot be stored as text cannot be an id.
    known = "\x00" not in dead_letter_id and dead_letter_id.isprintable()
    found = dead_letters.page(DeadLetterFilter(ids=(dead_letter_id,)), None, 1) if known else []
    if not found:
        raise ApiError(404, "dead-letter-not-found", "Dead letter not found", f"There is no {dead_letter_id[:80]!r}.")
    return found[0]


InPath = Annotated[KeptDeadLetter, Depends(dead_letter_in_path)]


@router.get("", summary="List dead letters", responses=responses())
def list_letters(_: Operator, dead_letters: Letters, query: Annotated[LetterQuery, Query()]) -> LetterPage:
    """Newest failure first, over all tenants."""
    after = cursor.read(query.cursor, cursor.LETTER_ID) if query.cursor else None
    found = dead_letters.page(where(query), after, query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    last = (page[-1].entry.failed_at, page[-1].entry.id) if more else None
    return LetterPage(
        dead_letters=[LetterView(**fields_of(letter)) for letter in page],
        next_cursor=cursor.write(last) if last else None,
    )


@router.get("/groups", summary="Count dead letters by error code and stage", responses=responses())
def group_letters(_: Operator, dead_letters: Letters, query: Annotated[LetterFilters, Query()]) -> LetterGroups:
    groups = dead_letters.groups(where(query), MAX_GROUPS)
    return LetterGroups(groups=[LetterGroupView(**asdict(group)) for group in groups])


@router.post("/replay", summary="Send dead letters again", responses=responses())
def replay_letters(_: Operator, dead_letters: Letters, replay: Injected[Replay], wanted: ReplayRequest) -> ReplayReport:
    """Each record goes back onto its topic; failed images are in work again. Repeating it is safe.

    One that has failed again after three replays is refused unless forced.
    """
    narrowed = wanted.model_dump(include={"tenant_id", "code", "stage", "failed_from", "failed_before"})
    chosen = DeadLetterFilter(ids=tuple(wanted.ids), state=None if wanted.ids else "open", **narrowed)
    limit = max(wanted.limit, len(wanted.ids))
    found = dead_letters.page(chosen, None, limit + 1)
    verdicts = replay(found[:limit], force=wanted.force, dry_run=wanted.dry_run)
    known = {letter.entry.id for letter in found}
    unknown = [RefusedReplay(dead_letter_id=one, reason="no such letter") for one in wanted.ids if one not in known]
    return report(verdicts, unknown, dry_run=wanted.dry_run, more=len(found) > limit)


@router.get("/{dead_letter_id}", summary="One dead letter with its event", responses=responses(404))
def letter_detail(letter: InPath) -> LetterDetail:
    return detail(letter)


@router.post("/{dead_letter_id}/replay", summary="Send a dead letter again", responses=responses(404, 409))
def replay_letter(letter: InPath, replay: Injected[Replay], wanted: ReplayOptions | None = None) -> ReplayReport:
    options = wanted or ReplayOptions()
    (verdict,) = replay([letter], force=options.force, dry_run=options.dry_run)
    if verdict.refused == UNDELIVERED:
        raise BrokerUnavailable("the record was not delivered", retry_after_seconds=2)
    if verdict.refused and not options.dry_run:
        raise ApiError(409, "dead-letter-not-replayable", "Dead letter not replayable", f"{verdict.refused}.")
    return report([verdict], [], dry_run=options.dry_run, more=False)


@router.post("/{dead_letter_id}/discard", summary="Discard a dead letter", responses=responses(404, 409))
def discard_letter(
    letter: InPath, dead_letters: Letters, clock: Injected[Clock], wanted: DiscardRequest
) -> LetterDetail:
    """It stays on record with its reason, and is not replayed unless forced."""
    if not dead_letters.discard(letter.entry.id, wanted.reason, clock.now()):
        raise ApiError(409, "dead-letter-settled", "Dead letter settled", f"It was {letter.state} already.")
    return detail(latest(dead_letters, letter))


def latest(dead_letters: DeadLetters, letter: KeptDeadLetter) -> KeptDeadLetter:
    return next(iter(dead_letters.page(DeadLetterFilter(ids=(letter.entry.id,)), None, 1)), letter)


def where(query: LetterFilters) -> DeadLetterFilter:
    return DeadLetterFilter(**query.model_dump(include=set(LetterFilters.model_fields)))


def report(verdicts: list[Verdict], unknown: list[RefusedReplay], *, dry_run: bool, more: bool) -> ReplayReport:
    refused = [RefusedReplay(dead_letter_id=one.letter.entry.id, reason=one.refused) for one in verdicts if one.refused]
    replayed = len(verdicts) - len(refused)
    return ReplayReport(dry_run=dry_run, replayed=replayed, refused=[*refused, *unknown], more=more)


def fields_of(letter: KeptDeadLetter) -> dict[str, Any]:
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
        "replayable": replay_blocker(letter, REPLAYABLE, force=True) is None,
    }


def detail(letter: KeptDeadLetter) -> LetterDetail:
    source = letter.entry.source
    if source is None:
        return LetterDetail(**fields_of(letter))
    place = {"partition": source.partition, "offset": source.offset, "event_id": source.event_id}
    return LetterDetail(**fields_of(letter), **place, **content(source.value))


def content(value: str | None) -> dict[str, Any]:
    """A record's value as JSON, or as the text that it is instead."""
    if value is None:
        return {}
    try:
        raw = b64decode(value)
    except NotBase64:
        return {"text": value[:MAX_TEXT]}
    text = {"text": raw[: 4 * MAX_TEXT].decode(errors="replace")[:MAX_TEXT]}
    if raw.count(b"[") + raw.count(b"{") > MAX_NESTED:
        return text
    try:
        event = json.loads(raw, parse_constant=str)
        # Halves of surrogate pairs parse, but cannot be answered.
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:
        return text
    return {"event": event}
