"""/v1/duplicates and /v1/merges: review, decide and merge groups of duplicates; compare two images.

/v1/admin/tenants/{id}/duplicates: a tenant's policy about duplicates.
"""

from dataclasses import asdict
from math import sumprod
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Administrator, Reader, Writer
from deeplens.common.ports import Clock
from deeplens.duplicates.merge import MergeDuplicates, UndoMerge, check_members, raise_not_found
from deeplens.duplicates.model import Duplicates, Group, Merge, evidence_of, in_order, verdict_of
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
    PolicyView,
)
from deeplens.http import cursor
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.fields import ImageIdInPath, image_id_in_path, validation_error
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images import views
from deeplens.images.lookup import MERGED, live_image
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import DuplicatePolicy, Tenant
from deeplens.tenants.ports import TenantRecords
from deeplens.vectors.ports import VectorIndex

router = APIRouter(prefix="/v1", tags=["duplicates"])
policy_router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/duplicates", tags=["tenants"])
DuplicateIdInPath = Annotated[str, Path(examples=[GROUP_ID], max_length=64)]
ABSORBED: dict[int | str, dict[str, Any]] = {301: {"description": "Absorbed by another group; follow Location"}}


@router.get("/duplicates", summary="List groups of duplicates", responses=responses())
def list_duplicates(
    caller: Reader, duplicates: Injected[Duplicates], query: Annotated[PageQuery, Query()]
) -> DuplicatePage:
    """Newest first; only groups with at least two images."""
    after = cursor.read(query.cursor, cursor.GROUP_ID) if query.cursor else None
    candidates = duplicates.page(caller.tenant, query.limit + 1, after)
    groups, following = cursor.page_of(candidates, query.limit, lambda group: (group.created_at, group.id))
    return DuplicatePage(groups=[group_view(group, caller.tenant) for group in groups], next_cursor=following)


@router.get(
    "/duplicates/{duplicate_id}",
    summary="One group",
    response_model=DuplicateGroup,
    responses=ABSORBED | responses(404),
)
def get_duplicates(
    caller: Reader, duplicates: Injected[Duplicates], duplicate_id: DuplicateIdInPath
) -> DuplicateGroup | Response:
    group = duplicates.group(caller.tenant, duplicate_id) or raise_not_found(duplicate_id)
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
    """Compare two images as they are now, whether or not they were found to be duplicates."""
    tenant, ids = caller.tenant, (image_id, image_id_in_path(other_id))
    first, second = in_order(*(live_image(images, tenant, id) for id in ids))
    score = _score(index, tenant, first, second)
    evidence, comparable = evidence_of(first, second, score, duplicates.hashes(tenant, [first.id, second.id]))
    return view(
        ImageComparison,
        duplicates.pair(tenant, first.id, second.id),
        image_ids=[first.id, second.id],
        verdict=verdict_of(evidence, comparable, tenant.thresholds) if first.id != second.id else None,
        match=tenant.thresholds.label(score) if tenant.thresholds and score is not None else None,
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
    """The decision is permanent: no scan and no other model asks again. A later decision replaces it."""
    group = duplicates.group(caller.tenant, duplicate_id) or raise_not_found(duplicate_id)
    check_members(group, request.image_ids or ())
    ids = sorted(request.image_ids or ()) or [image.id for image in group.members]
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
    """The kept image gets the tags and metadata of the others, and their ids redirect to it from now on. They are
    removed when the merge can no longer be undone. A repeat gives the same answer."""
    done, events = merge(caller.tenant, duplicate_id, request.keep, request.image_ids, caller.principal.subject)
    publish(events)
    return merge_view(done)


@router.get("/merges", summary="List merges", responses=responses())
def list_merges(caller: Reader, duplicates: Injected[Duplicates], query: Annotated[PageQuery, Query()]) -> MergePage:
    """Merges by hand and by policy, newest first."""
    after = cursor.read(query.cursor, cursor.MERGE_ID) if query.cursor else None
    candidates = duplicates.merges(caller.tenant, query.limit + 1, after)
    merges, following = cursor.page_of(candidates, query.limit, lambda merge: (merge.merged_at, merge.id))
    return MergePage(merges=[merge_view(merge) for merge in merges], next_cursor=following)


@router.post("/merges/{merge_id}/undo", summary="Undo a merge", responses=responses(404, 409))
def undo_merge(
    caller: Writer,
    undo: Injected[UndoMerge],
    publish: Publishing,
    merge_id: Annotated[str, Path(examples=[MERGE_ID], max_length=64)],
) -> MergeView:
    """Restore the merged images under their own ids, and the tags and metadata of the kept image unless they were
    changed since. Possible until ``undoUntil``; a repeat gives the same answer."""
    done, events = undo(caller.tenant, merge_id)
    publish(events)
    return merge_view(done)


@policy_router.get("", summary="A tenant's policy about duplicates", responses=responses(404))
def duplicate_policy(tenant: Administrator) -> PolicyView:
    return view(PolicyView, tenant.duplicates)


@policy_router.put("", summary="Set a tenant's policy about duplicates", responses=responses(404))
def set_duplicate_policy(tenant: Administrator, records: Injected[TenantRecords], request: PolicyView) -> PolicyView:
    """In effect everywhere within ten seconds. Earlier merges stay, with the time that they can be undone."""
    records.set_duplicates(tenant.id, DuplicatePolicy(request.action, request.undo_seconds))
    return request


def group_view(group: Group, tenant: Tenant) -> DuplicateGroup:
    images = [views.summary(image, tenant) for image in group.members]
    pairs = [
        view(PairView, pair, image_ids=[pair.first_id, pair.second_id], **asdict(pair.evidence)) for pair in group.pairs
    ]
    return view(DuplicateGroup, group, duplicate_id=group.id, images=images, pairs=pairs)


def merge_view(merge: Merge) -> MergeView:
    return view(
        MergeView,
        merge,
        merge_id=merge.id,
        duplicate_id=merge.group_id,
        kept=merge.kept_id,
        merged=list(merge.merged_ids),
    )


def _score(index: VectorIndex, tenant: Tenant, first: ImageRecord, second: ImageRecord) -> float | None:
    """The cosine of two images' vectors, which have length 1."""
    one, other = (index.vector_of(tenant, image.id) for image in (first, second))
    if one is None or other is None:
        return None
    return max(-1.0, min(1.0, sumprod(one, other)))
