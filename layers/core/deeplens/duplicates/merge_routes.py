"""/v1/merges: what was merged, and taking it back."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from deeplens.access.caller import Reader, Writer
from deeplens.duplicates.merge import UndoMerge, merge_view
from deeplens.duplicates.schemas import MERGE_ID, MergePage, MergeView, PageQuery
from deeplens.http import cursor
from deeplens.http.dependencies import Parts, Traceparent
from deeplens.http.problems import responses

router = APIRouter(prefix="/v1/merges", tags=["duplicates"])


@router.get("", summary="List merges", responses=responses())
def list_merges(caller: Reader, parts: Parts, query: Annotated[PageQuery, Query()]) -> MergePage:
    """By hand and by policy, newest first."""
    after = cursor.read(query.cursor, cursor.MERGE_ID) if query.cursor else None
    found = parts.duplicates.merges(caller.tenant, query.limit + 1, after)
    shown = found[: query.limit]
    more = len(found) > query.limit
    return MergePage(
        merges=[merge_view(merge) for merge in shown],
        next_cursor=cursor.write((shown[-1].merged_at, shown[-1].id)) if more else None,
    )


@router.post("/{merge_id}/undo", summary="Undo a merge", responses=responses(404, 409))
def undo_merge(
    caller: Writer,
    parts: Parts,
    traceparent: Traceparent,
    merge_id: Annotated[str, Path(examples=[MERGE_ID], max_length=64)],
) -> MergeView:
    """The merged images are back under their own ids; the kept one's tags and metadata are what they were, unless they
    were changed since. Possible until ``undoUntil``; a repeat gives the same answer."""
    undo = UndoMerge(parts.duplicates, parts.images, parts.publisher, parts.clock)
    return merge_view(undo(caller.tenant, merge_id, traceparent))
