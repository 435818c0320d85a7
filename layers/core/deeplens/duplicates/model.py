"""Evidence and verdicts on pairs, how groups form, join and split, merges, and the ports that store them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID, uuid5

from deeplens.embedding.model import Thresholds
from deeplens.images.model import ImageRecord
from deeplens.tenants.model import DuplicatePolicy, Tenant

DuplicateVerdict = Literal["exact", "re-encoded", "near"]
Decision = Literal["duplicate", "not-duplicate"]
MergeState = Literal["merged", "undone", "settled"]

NAMESPACE = UUID("7d0c3f0e-55b1-5d0e-9a43-0d5c6f5b8e21")
MAX_SAME_PICTURE_BITS, MAX_NEAR_BITS = 4, 10
"""Most bits in which two 64-bit pHashes may differ. Measured by ``make bench-duplicates``: nine of ten recompressed or
resized copies differ in 4 at the most, other pictures that the model finds near (mirrored, cropped) in 12 and more."""
MIN_SIDE_PIXELS = 16
"""Below it a pHash is meaningless."""
ASPECT_TOLERANCE = 0.02
MAX_TAGS, MAX_METADATA_KEYS = 50, 50
REPEATED_WITHIN = timedelta(days=7)
"""The retention of the topic: within it a repeated notification has the same id, and is delivered once."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What two images have in common.

    Attributes
    ----------
    score : cosine of their vectors, None where one has none.
    hash_distance : bits in which their pHashes differ, 0 to 64; None where one has none.
    aspect_ratio : the wider aspect by the narrower, 1 for equal ones.
    pixel_ratio : pixels of the smaller by those of the larger.
    """

    same_bytes: bool
    score: float | None = None
    hash_distance: int | None = None
    aspect_ratio: float | None = None
    pixel_ratio: float | None = None


def evidence_of(
    one: ImageRecord, other: ImageRecord, score: float | None, hashes: Mapping[str, int]
) -> tuple[Evidence, bool]:
    """Evidence of a pair, and whether both show enough for their pHashes to count."""
    known = one.id in hashes and other.id in hashes
    distance = (hashes[one.id] ^ hashes[other.id]).bit_count() if known else None
    same = one.sha256 == other.sha256
    score = None if score is None else round(score, 6)
    if not (one.width and one.height and other.width and other.height):
        return Evidence(same, score, distance), False
    aspects = one.width * other.height / (one.height * other.width)
    pixels = one.width * one.height / (other.width * other.height)
    aspect_ratio, pixel_ratio = round(max(aspects, 1 / aspects), 4), round(min(pixels, 1 / pixels), 4)
    shortest = min(one.width, one.height, other.width, other.height)
    # Sides are whole pixels, so the aspect of a small copy is inexact.
    plausible = aspect_ratio <= 1 + ASPECT_TOLERANCE + 1 / shortest
    return Evidence(same, score, distance, aspect_ratio, pixel_ratio), plausible and shortest >= MIN_SIDE_PIXELS


def verdict_of(evidence: Evidence, comparable: bool, thresholds: Thresholds | None) -> DuplicateVerdict | None:
    """The verdict on a pair; None if its images are similar at most.

    The model proposes, the pHash confirms: ``re-encoded`` is the same picture in another file, ``near`` a slightly
    changed one. A model that is not sure (``similar``) is believed where the pHashes are all but equal.
    """
    if evidence.same_bytes:
        return "exact"
    score, distance = evidence.score, evidence.hash_distance
    if score is None or distance is None or thresholds is None or not comparable or distance > MAX_NEAR_BITS:
        return None
    close = distance <= MAX_SAME_PICTURE_BITS
    if close and score >= thresholds.exact:
        return "re-encoded"
    return "near" if score >= (thresholds.similar if close else thresholds.near_duplicate) else None


def in_order(one: ImageRecord, other: ImageRecord) -> tuple[ImageRecord, ImageRecord]:
    """The image that came first is the one that is kept: by time of upload, then by id."""
    return (one, other) if (one.uploaded_at, one.id) < (other.uploaded_at, other.id) else (other, one)


def pair_id(one: str, other: str) -> str:
    """One id per unordered pair of images of a tenant."""
    return "dpr_" + uuid5(NAMESPACE, "/".join(sorted((one, other)))).hex


def merge_id_of(pair: str) -> str:
    """The merge of a pair that a policy merges, the same at every repeat."""
    return "mrg_" + uuid5(NAMESPACE, f"merge/{pair}").hex


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, the evidence that they are duplicates, and the decision about them.

    Attributes
    ----------
    first_id, second_id : the earlier and the later one.
    verdict : None for a pair that was only decided.
    model : name and version that ``score`` is of.
    recorded_at : when the consumer of ``deeplens.duplicates.found`` recorded it; None before.
    """

    id: str
    first_id: str
    second_id: str
    verdict: DuplicateVerdict | None
    evidence: Evidence
    model: str
    found_at: datetime
    recorded_at: datetime | None = None
    decision: Decision | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are duplicates of one another, directly or through others; its id stays when members are added.

    Attributes
    ----------
    size : images in it; ``members`` are the live ones, the oldest first, 100 at most.
    pairs : among these.
    """

    id: str
    created_at: datetime
    size: int
    members: tuple[ImageRecord, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class Merge:
    """Images that were merged into one.

    Attributes
    ----------
    before : tags, metadata of the kept image before; ``revision`` that the merge gave it, None if it changed nothing.
    pair_id : the pair that a policy merged; None for a merge by hand.
    """

    id: str
    group_id: str | None
    kept_id: str
    merged_ids: tuple[str, ...]
    merged_at: datetime
    undo_until: datetime
    by: str
    state: MergeState = "merged"
    pair_id: str | None = None
    before: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of recording pairs.

    Attributes
    ----------
    groups : by pair id, of pairs to notify about: recorded now, or so recently that this may be a repeat.
    merges : of these pairs by policy, made now or before.
    """

    groups: Mapping[str, str]
    merges: Sequence[Merge] = ()


def united(kept: ImageRecord, others: Iterable[ImageRecord]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Tags and metadata of merged images: the kept one's come first and win, then those of the others, oldest first."""
    ordered = [kept, *sorted(others, key=lambda image: (image.uploaded_at, image.id))]
    tags = tuple(dict.fromkeys(tag for image in ordered for tag in image.tags))
    metadata: dict[str, Any] = {}
    for image in ordered:
        metadata |= image.metadata | metadata
    max_keys = max(MAX_METADATA_KEYS, len(kept.metadata))
    return tags[: max(MAX_TAGS, len(kept.tags))], dict(list(metadata.items())[:max_keys])


class Duplicates(Protocol):
    """Pairs, groups and merges in a tenant's database. Raises ``DatabaseUnavailable``."""

    def keep_hashes(self, tenant: Tenant, hashes: Mapping[str, int]) -> None:
        """Keep pHashes by image id; unknown images are ignored."""

    def hashes(self, tenant: Tenant, image_ids: Collection[str]) -> dict[str, int]:
        """The known pHashes by image id."""

    def images_with_same_bytes(self, tenant: Tenant, sha256s: Collection[str], limit: int) -> dict[str, list[str]]:
        """Per digest at most ``limit`` live images that have not failed, the oldest first."""

    def reserve(self, tenant: Tenant, image_id: str) -> str | None:
        """Drop a just accepted image if another live image has the same bytes, and return its id; None otherwise.

        Of images with the same bytes that reserve concurrently, one stays.
        """

    def save(self, tenant: Tenant, pairs: Sequence[Pair]) -> list[Pair]:
        """Store pairs of live images; a known pair gets the new evidence and keeps its decision.

        Returns the stored pairs. Recorded pairs whose images share no group are grouped again.
        """

    def record(self, tenant: Tenant, pair_ids: Collection[str], now: datetime) -> Recorded:
        """Put pairs of live images into groups, and merge the exact ones where the tenant's policy says so.

        One transaction under the tenant's lock. Decided pairs are never merged; a repeat returns the same.
        """

    def pair(self, tenant: Tenant, one: str, other: str) -> Pair | None: ...

    def page(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Group]:
        """At most ``limit`` groups with two live members at least, newest first, with members and pairs."""

    def group(self, tenant: Tenant, group_id: str) -> Group | None:
        """The group, or the one that absorbed it; None if it has fewer than two live members."""

    def decide(self, tenant: Tenant, image_ids: Sequence[str], decision: Decision, by: str, now: datetime) -> None:
        """Store a decision on every pair of live images among these, and regroup accordingly."""

    def merge(self, tenant: Tenant, planned: Merge) -> Merge | None:
        """Merge ``merged_ids`` into ``kept_id``, one transaction under the tenant's lock: those that are live and not
        decided to be no duplicates of it. None when the kept one is not live or no other is left.
        """

    def merge_of(self, tenant: Tenant, merge_id: str) -> Merge | None: ...

    def last_merge(self, tenant: Tenant, group_id: str, kept_id: str) -> Merge | None:
        """The newest merge of a group into this image that was not undone."""

    def merges(self, tenant: Tenant, limit: int, after: tuple[datetime, str] | None) -> list[Merge]:
        """Newest first."""

    def undo(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        """Make merged images live again, and the kept one's tags and metadata what they were unless changed since.

        They are grouped with the kept one, and by all other pairs that were recorded of them.
        A repeat returns the same. None when there is no such merge, it is settled, or its time is over.
        """

    def settle(self, tenant: Tenant, merge_id: str, now: datetime) -> Merge | None:
        """End the time in which a merge can be undone. None while it lasts, after an undo, or for an unknown one."""


class MergeDeadlines(Protocol):
    """When merges settle, over all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def add(self, deadlines: Sequence[tuple[str, str, datetime]]) -> None:
        """Remember (tenant_id, merge_id, due) before the merge is made; a repeat changes nothing."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[tuple[str, str]]:
        """(tenant_id, merge_id) whose time is up, of active tenants; they get a new due time. One query over all."""

    def done(self, tenant_id: str, merge_ids: Collection[str]) -> None: ...


def undo_until(policy: DuplicatePolicy, now: datetime) -> datetime:
    return now + timedelta(seconds=policy.undo_seconds)


def components(links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The connected components of a graph, each once."""
    near: dict[str, set[str]] = defaultdict(set)
    for one, other in links:
        near[one].add(other)
        near[other].add(one)
    found = []
    while near:
        component, waiting = set[str](), [next(iter(near))]
        while waiting:
            node = waiting.pop()
            component.add(node)
            waiting += near.pop(node, ())
        found.append(component)
    return found


@dataclass(frozen=True, slots=True)
class Joined:
    """One component of linked images: the oldest of its groups (None for a new one), the others, new members."""

    group_id: str | None
    absorbed: tuple[str, ...]
    members: frozenset[str]


def join(links: Sequence[tuple[str, str]], group_of: Mapping[str, str], born: Mapping[str, datetime]) -> list[Joined]:
    """Decide how links between images change groups; the groups' other members are not needed.

    Parameters
    ----------
    group_of : groups of the linked images that have one.
    born : when these groups were created; the oldest keeps its id.
    """
    # A group is a node beside the images: its id is never an image's.
    memberships = [(image, group_of[image]) for link in links for image in link if image in group_of]
    joined = []
    for component in components([*links, *memberships]):
        groups = sorted(component & born.keys(), key=lambda group: (born[group], group))
        added = frozenset(component - born.keys() - group_of.keys())
        joined.append(Joined(groups[0] if groups else None, tuple(groups[1:]), added))
    return joined


def split(members: Collection[str], links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The parts that a group splits into, largest first, then by lowest id; single images leave the group.

    The first part keeps the group's id.
    """
    inside = [link for link in links if link[0] in members and link[1] in members]
    return sorted(components(inside), key=lambda part: (-len(part), min(part)))
