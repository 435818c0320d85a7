"""/v1/duplicates: groups of duplicates, looked at, decided and merged; two images compared."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import RedirectResponse, Response

from deeplens.access.caller import Reader, Writer
from deeplens.duplicates.merge import MergeDuplicates, merge_view
from deeplens.duplicates.model import Evidence, Group, Pair, evidence_of, in_order, verdict_of
from deeplens.duplicates.schemas import (
    GROUP_ID,
    MOST_DECIDED,
    OTHER_ID,
    Decided,
    DecisionRequest,
    DuplicateGroup,
    DuplicatePage,
    ImageComparison,
    MergeRequest,
    MergeView,
    PageQuery,
    PairView,
)
from deeplens.errors import ApiError
from deeplens.http import cursor
from deeplens.http.dependencies import ApiParts, Parts, Traceparent
from deeplens.http.fields import ImageIdInPath, image_id_in_path, refusal
from deeplens.http.problems import image_not_found, responses
from deeplens.images import views
from deeplens.images.lookup import MERGED, live_image
from deeplens.images.model import ImageRecord
from deeplens.tenants.model import Tenant

router = APIRouter(prefix="/v1", tags=["duplicates"])
DuplicateIdInPath = Annotated[str, Path(examples=[GROUP_ID], max_length=64)]
JOINED: dict[int | str, dict[str, Any]] = {301: {"description": "It went into another group; follow Location"}}


@router.get("/duplicates", summary="List groups of duplicates", responses=responses())
def list_duplicates(caller: Reader, parts: Parts, query: Annotated[PageQuery, Query()]) -> DuplicatePage:
    """Newest first. Groups with a single image left are gone."""
    after = cursor.read(query.cursor, cursor.GROUP_ID) if query.cursor else None
    found = parts.duplicates.page(caller.tenant, query.limit + 1, after)
    shown = found[: query.limit]
    more = len(found) > query.limit
    return DuplicatePage(
        groups=[group_view(group, caller.tenant) for group in shown],
        next_cursor=cursor.write((shown[-1].created_at, shown[-1].id)) if more else None,
    )


@router.get(
    "/duplicates/{duplicate_id}", summary="One group", response_model=DuplicateGroup, responses=JOINED | responses(404)
)
def get_duplicates(caller: Reader, parts: Parts, duplicate_id: DuplicateIdInPath) -> DuplicateGroup | Response:
    group = _group(parts, caller.tenant, duplicate_id)
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
    caller: Reader, parts: Parts, image_id: ImageIdInPath, other_id: Annotated[str, Path(examples=[OTHER_ID])]
) -> ImageComparison:
    """As they are now, whether or not they were found to be duplicates."""
    tenant = caller.tenant
    first, second = in_order(
        live_image(parts.images, tenant, image_id), live_image(parts.images, tenant, image_id_in_path(other_id))
    )
    score = _score(parts, tenant, first, second)
    evidence, comparable = evidence_of(first, second, score, parts.duplicates.hashes(tenant, [first.id, second.id]))
    known = parts.duplicates.pair(tenant, first.id, second.id)
    return ImageComparison(
        image_ids=[first.id, second.id],
        verdict=verdict_of(evidence, comparable, tenant.thresholds) if first.id != second.id else None,
        match=tenant.thresholds.label(score) if tenant.thresholds and score is not None else None,
        decision=known.decision if known else None,
        decided_at=known.decided_at if known else None,
        decided_by=known.decided_by if known else None,
        **_evidence(evidence),
    )


@router.post("/duplicates/{duplicate_id}/decision", summary="Decide about duplicates", responses=responses(404))
def decide_duplicates(
    caller: Writer, parts: Parts, duplicate_id: DuplicateIdInPath, wanted: DecisionRequest
) -> Decided:
    """Remembered for good: no scan and no other model asks again. A later decision replaces it."""
    group = _group(parts, caller.tenant, duplicate_id)
    ids = _members(group, wanted.image_ids)
    if len(ids) > MOST_DECIDED:
        raise refusal("body", ("imageIds",), f"the group has {len(ids)} images; name at most {MOST_DECIDED} of them")
    now, by = parts.clock.now(), caller.principal.subject
    parts.duplicates.decide(caller.tenant, ids, wanted.decision, by, now)
    return Decided(decision=wanted.decision, image_ids=ids)


@router.post("/duplicates/{duplicate_id}/merge", summary="Merge duplicates into one", responses=responses(404, 409))
def merge_duplicates(
    caller: Writer, parts: Parts, traceparent: Traceparent, duplicate_id: DuplicateIdInPath, wanted: MergeRequest
) -> MergeView:
    """The kept image gets the tags and metadata of the others, and their ids lead to it from now on. They are removed
    when the time to undo it is over. A repeat gives the same answer."""
    merge = MergeDuplicates(parts.duplicates, parts.merge_deadlines, parts.images, parts.publisher, parts.clock)
    by = caller.principal.subject
    done = merge(caller.tenant, duplicate_id, wanted.keep, wanted.image_ids, by, traceparent)
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
    return PairView(
        image_ids=[pair.first_id, pair.second_id],
        verdict=pair.verdict,
        found_at=pair.found_at,
        decision=pair.decision,
        decided_at=pair.decided_at,
        decided_by=pair.decided_by,
        **_evidence(pair.evidence),
    )


def _evidence(evidence: Evidence) -> dict[str, float | int | bool | None]:
    return {name: getattr(evidence, name) for name in evidence.__slots__}


def _group(parts: ApiParts, tenant: Tenant, duplicate_id: str) -> Group:
    group = parts.duplicates.group(tenant, duplicate_id)
    if group is None:
        raise group_not_found(duplicate_id)
    return group


def group_not_found(duplicate_id: str) -> ApiError:
    detail = f"There is no group {duplicate_id} with two images."
    return ApiError(404, "duplicate-not-found", "Group not found", detail)


def _members(group: Group, wanted: list[str] | None) -> list[str]:
    known = [image.id for image in group.members]
    for image_id in wanted or ():
        if image_id not in known:
            raise image_not_found(image_id)
    return sorted(set(wanted)) if wanted else known


def _score(parts: ApiParts, tenant: Tenant, first: ImageRecord, second: ImageRecord) -> float | None:
    """The cosine of two images' vectors, which have length 1."""
    one, other = (parts.index.vector_of(tenant, image.id) for image in (first, second))
    if one is None or other is None:
        return None
    return max(-1.0, min(1.0, sum(a * b for a, b in zip(one, other, strict=True))))
