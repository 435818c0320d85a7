"""Maintenance of a tenant: a run of many slices, what it may find, and what each finding means."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NewType, Protocol

from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.storage.ports import ObjectInfo
from deeplens.vectors.ports import IndexedPoint

SweepGrace = NewType("SweepGrace", timedelta)
"""Sweeps leave alone what is younger."""
SweepInterval = NewType("SweepInterval", timedelta)
"""Time between two sweeps of a tenant that changed."""
ThumbnailRetention = NewType("ThumbnailRetention", timedelta)
"""Age at which storage optimisation drops thumbnails."""

type MaintenanceType = Literal["sweep", "storage-optimisation", "duplicate-scan", "store-scan"]
type Kind = Literal[
    "row-without-object",
    "row-without-derived",
    "row-without-vector",
    "half-done-delete",
    "object-without-row",
    "derived-without-row",
    "vector-without-row",
    "derived-of-failed",
    "thumbnail-not-needed",
]
EXAMPLES = 20
"""Findings that a report names one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that contradicts something else.

    Attributes
    ----------
    subject : image id, object key or point id.
    detail : e.g. the model whose vector is missing.
    """

    kind: Kind
    subject: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has seen so far.

    Attributes
    ----------
    checked : rows, objects and vectors looked at.
    found, repaired : findings by kind; ``repaired`` stays empty in a dry run.
    examples : the first ``EXAMPLES`` findings.
    bytes_freed : by objects removed; in a dry run, what would be.
    """

    checked: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    examples: tuple[dict[str, Any], ...] = ()
    bytes_freed: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(
            _sum(self.checked, other.checked),
            _sum(self.found, other.found),
            _sum(self.repaired, other.repaired),
            (*self.examples, *other.examples)[:EXAMPLES],
            self.bytes_freed + other.bytes_freed,
        )


def report_of(checked: str, count: int, findings: Collection[Finding], *, repaired: bool, freed: int = 0) -> Report:
    """The report of one page: ``count`` of ``checked`` were looked at."""
    by_kind: dict[str, int] = {}
    for finding in findings:
        by_kind[finding.kind] = by_kind.get(finding.kind, 0) + 1
    examples = tuple(_example(finding) for finding in list(findings)[:EXAMPLES])
    return Report({checked: count}, by_kind, by_kind if repaired else {}, examples, freed)


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """One run of maintenance over a tenant.

    Attributes
    ----------
    cursor : where its next slice begins; a slice that begins elsewhere was done already.
    due : when the schedule carries it on, unless it carried itself on.
    error : why it ended before its end.
    """

    id: str
    tenant_id: str
    type: MaintenanceType
    dry_run: bool
    created_at: datetime
    due: datetime
    cursor: str = ""
    slices: int = 0
    report: Report = Report()
    ended_at: datetime | None = None
    error: str | None = None

    def moved(self, cursor: str, report: Report, due: datetime, ended_at: datetime | None) -> "MaintenanceRun":
        """The run after one slice more."""
        return replace(
            self,
            cursor=cursor,
            slices=self.slices + 1,
            report=self.report + report,
            due=due,
            ended_at=ended_at,
        )


class MaintenanceRuns(Protocol):
    """Runs of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def start(self, run: MaintenanceRun, grace: timedelta) -> bool:
        """Keep a new run. False while another one of its type and tenant has not ended.

        A sweep that is not dry is the tenant's last one from now on. A change that it is too early for, as what is
        younger than ``grace`` is left alone, counts as one since.
        """

    def find(self, run_id: str) -> MaintenanceRun | None: ...

    def of_tenant(self, tenant_id: str | None, limit: int) -> list[MaintenanceRun]:
        """Newest first; of all tenants for None."""

    def move(self, run: MaintenanceRun, before: str) -> bool:
        """Keep how far a run has come. False unless it still stood at the cursor ``before``."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[MaintenanceRun]:
        """Runs whose time is up; they get a new due time. One query over all tenants."""

    def wake(self, tenant_ids: Collection[str], pending: int, rest: datetime, due: datetime) -> list[MaintenanceRun]:
        """Scans of these tenants that rest, due before ``rest``, and may go on as fewer images are pending.

        They get a new due time, so that each is returned once.
        """

    def sweeps_due(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        """Tenants that changed since their last sweep, which began before ``now - every``; none that is swept now."""

    def forget(self, before: datetime, limit: int) -> int:
        """Drop runs that ended before then; returns how many."""

    def changed(self, tenant_ids: Collection[str], now: datetime) -> None:
        """Note that tenants have changed."""


def judge_row(
    row: ImageRecord | Tombstone,
    before: datetime,
    expected: Sequence[str],
    standing: Collection[str],
    lacking: Iterable[str] = (),
) -> list[Finding]:
    """What is wrong with a row that was last touched before ``before``.

    Parameters
    ----------
    expected : keys of its original, empty where it is not ours to keep, and behind it of what is made of it.
    standing : keys that are there, among others.
    lacking : models, as ``name version``, that a vector is recorded of but not there.
    """
    if isinstance(row, Tombstone):
        # What was merged can come back for a while; then its merge has it deleted.
        waits = row.receipt is None and row.merged_into is None and row.deleted_at < before
        return [Finding("half-done-delete", row.image_id)] if waits else []
    if row.updated_at >= before or row.step is Step.FAILED or not expected:
        return []
    original, *derived = expected
    if original and original not in standing:
        return [Finding("row-without-object", row.id, original)]
    if row.step is not Step.COMPLETED:
        # Unfinished images are in ``pending_images``, which sends them again.
        return []
    missing = [key for key in derived if key not in standing]
    if missing:
        return [Finding("row-without-derived", row.id, missing[0])]
    return [Finding("row-without-vector", row.id, model) for model in lacking]


def judge_object(entry: ObjectInfo, row: ImageRecord | Tombstone | None, before: datetime) -> Finding | None:
    """Whether an image's object has no image: none that ever was, or one whose row is erased."""
    if entry.modified_at >= before or not is_gone(row, before):
        return None
    return Finding("object-without-row" if entry.key.startswith("images/") else "derived-without-row", entry.key)


def judge_point(point: IndexedPoint, row: ImageRecord | Tombstone | None, before: datetime) -> Finding | None:
    """Whether a vector has no image. It is at least as young as its image's upload and its deletion."""
    uploaded_at = datetime.fromisoformat(point.uploaded_at) if point.uploaded_at else None
    if (uploaded_at is not None and uploaded_at >= before) or not is_gone(row, before):
        return None
    return Finding("vector-without-row", point.id, point.image_id)


def is_gone(row: ImageRecord | Tombstone | None, before: datetime) -> bool:
    """Whether nothing may be left of an image. A tombstone without receipt is a deletion under way."""
    if isinstance(row, Tombstone):
        return row.receipt is not None and row.deleted_at < before
    return row is None


def _example(finding: Finding) -> dict[str, Any]:
    named = {"kind": finding.kind, "subject": finding.subject, "detail": finding.detail}
    return {name: value for name, value in named.items() if value is not None}


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
