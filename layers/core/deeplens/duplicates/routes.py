"""/v1/duplicates and /v1/merges: review, decide and merge groups of duplicates; compare two images."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Reader, Writer
from deeplens.common.ports import Clock
from deeplens.duplicates.merge import MergeDuplicates, UndoMerge
from deeplens.duplicates.model import Duplicates, Group, Merge, Pair, evidence_of, in_order, verdict_of
from deeplens.duplicates.schemas import (
    GROUP_ID,
    MAX_DECIDED,
    MERGE_ID,
    OTHER_ID,
    Decided,
    DecisionRequest,
    DuplicateGroup,
    DuplicatePage,
    ImageComparison,
    MergePage,
    MergeRequest,
    MergeView,
    PageQuery,
    PairView,
)
from deeplens.errors import ApiError
from deeplens.http import cursor
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath, image_id_in_path, validation_error
from deeplens.http.problems import image_not_found, responses
from deeplens.http.publish import Publishing
from deeplens.images import views
from deeplens.images.lookup import MERGED, live_image
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import VectorIndex

router = APIRouter(prefix="/v1", tags=["duplicates"])
DuplicateIdInPath = Annotated[str, Path(examples=[GROUP_ID], max_length=64)]
JOINED: dict[int | str, dict[str, Any]] = {301: {"description": "It went into another group; follow Location"}}


@router.get("/duplicates", summary="List groups of duplicates", responses=responses())
def list_duplicates(
    caller: Reader, duplicates: Injected[Duplicates], query: Annotated[PageQuery, Query()]
) -> DuplicatePage:
    """Newest first. Groups with a single image left are gone."""
    after = cursor.read(query.cursor, cursor.GROUP_ID) if query.cursor else None
    found = duplicates.page(caller.tenant, query.limit + 1, after)
    groups, following = cursor.page_of(found, query.limit, lambda group: (group.created_at, group.id))
    return DuplicatePage(groups=[group_view(group, caller.tenant) for group in groups], next_cursor=following)


@router.get(
    "/duplicates/{duplicate_id}", summary="One group", response_model=DuplicateGroup, responses=JOINED | responses(404)
)
def get_duplicates(
    caller: Reader, duplicates: Injected[Duplicates], duplicate_id: DuplicateIdInPath
) -> DuplicateGroup | Response:
    group = _group(duplicates, caller.tenant, duplicate_id)
    if group.id != duplicate_id:
        return RedirectResponse(f"/v1/duplicates/{group.id}", 301)
    return group_view(group, caller.tenant)


@router.get(
    "/images/{image_id}/compare/{other_id}",
    tags=["images"],
    summary="Compare two images",
    responses=MERGED | responses(404),
)
def compare_images(
    caller: Reader,
    images: Injected[ImageRepository],
    index: Injected[VectorIndex],
    duplicates: Injected[Duplicates],
    image_id: ImageIdInPath,
    other_id: Annotated[str, Path(examples=[OTHER_ID])],
) -> ImageComparison:
    """As they are now, whether or not they were found to be duplicates."""
    tenant = caller.tenant
    first, second = in_order(
        live_image(images, tenant, image_id), live_image(images, tenant, image_id_in_path(other_id))
    )
    score = _score(index, tenant, first, second)
    evidence, comparable = evidence_of(first, second, score, duplicates.hashes(tenant, [first.id, second.id]))
    known = duplicates.pair(tenant, first.id, second.id)
    return ImageComparison(
        image_ids=[first.id, second.id],
        verdict=verdict_of(evidence, comparable, tenant.thresholds) if first.id != second.id else None,
        match=tenant.thresholds.label(score) if tenant.thresholds and score is not None else None,
        decision=known.decision if known else None,
        decided_at=known.decided_at if known else None,
        decided_by=known.decided_by if known else None,
        **asdict(evidence),
    )


@router.post("/duplicates/{duplicate_id}/decision", summary="Decide about duplicates", responses=responses(404))
def decide_duplicates(
    caller: Writer,
    duplicates: Injected[Duplicates],
    clock: Injected[Clock],
    duplicate_id: DuplicateIdInPath,
    request: DecisionRequest,
) -> Decided:
    """Remembered for good: no scan and no other model asks again. A later decision replaces it."""
    group = _group(duplicates, caller.tenant, duplicate_id)
    ids = _members(group, request.image_ids)
    if len(ids) > MAX_DECIDED:
        raise validation_error(
            "body", ("imageIds",), f"the group has {len(ids)} images; name at most {MAX_DECIDED} of them"
        )
    duplicates.decide(caller.tenant, ids, request.decision, caller.principal.subject, clock.now())
    return Decided(decision=request.decision, image_ids=ids)


@router.post("/duplicates/{duplicate_id}/merge", summary="Merge duplicates into one", responses=responses(404, 409))
def merge_duplicates(
    caller: Writer,
    merge: Injected[MergeDuplicates],
    publish: Publishing,
    duplicate_id: DuplicateIdInPath,
    request: MergeRequest,
) -> MergeView:
    """The kept image gets the tags and metadata of the others, and their ids lead to it from now on. They are removed
    when the time to undo it is over. A repeat gives the same answer."""
    done, events = merge(caller.tenant, duplicate_id, request.keep, request.image_ids, caller.principal.subject)
    publish(events)
    return merge_view(done)


@router.get("/merges", summary="List merges", responses=responses())
def list_merges(caller: Reader, duplicates: Injected[Duplicates], query: Annotated[PageQuery, Query()]) -> MergePage:
    """By hand and by policy, newest first."""
    after = cursor.read(query.cursor, cursor.MERGE_ID) if query.cursor else None
    found = duplicates.merges(caller.tenant, query.limit + 1, after)
    merges, following = cursor.page_of(found, query.limit, lambda merge: (merge.merged_at, merge.id))
    return MergePage(merges=[merge_view(merge) for merge in merges], next_cursor=following)


@router.post("/merges/{merge_id}/undo", summary="Undo a merge", responses=responses(404, 409))
def undo_merge(
    caller: Writer,
    undo: Injected[UndoMerge],
    publish: Publishing,
    merge_id: Annotated[str, Path(examples=[MERGE_ID], max_length=64)],
) -> MergeView:
    """The merged images are back under their own ids; the kept one's tags and metadata are what they were, unless they
    were changed since. Possible until ``undoUntil``; a repeat gives the same answer."""
    done, events = undo(caller.tenant, merge_id)
    publish(events)
    return merge_view(done)


def group_view(group: Group, tenant: Tenant) -> DuplicateGroup:
    return DuplicateGroup(
        duplicate_id=group.id,
        created_at=group.created_at,
        size=group.size,
        images=[views.summary(image, tenant) for image in group.members],
        pairs=[_pair_view(pair) for pair in group.pairs],
    )


def _pair_view(pair: Pair) -> PairView:
    same = ("verdict", "found_at", "decision", "decided_at", "decided_by")
    return PairView(
        image_ids=[pair.first_id, pair.second_id],
        **{name: getattr(pair, name) for name in same},
        **asdict(pair.evidence),
    )


def merge_view(merge: Merge) -> MergeView:
    return MergeView(
        merge_id=merge.id,
        duplicate_id=merge.group_id,
        kept=merge.kept_id,
        merged=list(merge.merged_ids),
        **{name: getattr(merge, name) for name in ("merged_at", "undo_until", "by", "state")},
    )


def _group(duplicates: Duplicates, tenant: Tenant, duplicate_id: str) -> Group:
    group = duplicates.group(tenant, duplicate_id)
    if group is None:
        detail = f"There is no group {duplicate_id} with two images."
        raise ApiError(404, "duplicate-not-found", "Group not found", detail)
    return group


def _members(group: Group, named: list[str] | None) -> list[str]:
    known = [image.id for image in group.members]
    for image_id in named or ():
        if image_id not in known:
            raise image_not_found(image_id)
    return sorted(set(named)) if named else known


def _score(index: VectorIndex, tenant: Tenant, first: ImageRecord, second: ImageRecord) -> float | None:
    """The cosine of two images' vectors, which have length 1."""
    one, other = (index.vector_of(tenant, image.id) for image in (first, second))
    if one is None or other is None:
        return None
    return max(-1.0, min(1.0, sum(a * b for a, b in zip(one, other, strict=True))))
