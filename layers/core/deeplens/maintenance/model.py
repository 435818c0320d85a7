"""Maintenance of a tenant: runs, findings, reports, and the pure decisions of a sweep."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NewType, Protocol

from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.storage.ports import ObjectInfo
from deeplens.vectors.ports import IndexedPoint

SweepGrace = NewType("SweepGrace", timedelta)
"""Sweeps ignore what is younger."""
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
type Row = ImageRecord | Tombstone
MAX_EXAMPLES = 20
"""Findings that a report lists one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction between rows, objects and vectors.

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
    """The result of a run so far.

    Attributes
    ----------
    checked : numbers of rows, objects and vectors checked.
    found, repaired : findings by kind; ``repaired`` stays empty in a dry run.
    examples : the first ``MAX_EXAMPLES`` findings.
    bytes_freed : size of the deleted objects; in a dry run, of those that would be deleted.
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
            (*self.examples, *other.examples)[:MAX_EXAMPLES],
            self.bytes_freed + other.bytes_freed,
        )


def report_of(checked: str, count: int, findings: Sequence[Finding], *, repaired: bool, freed: int = 0) -> Report:
    """The report of one page, of which ``count`` entries of the kind ``checked`` were checked."""
    by_kind = dict[str, int](Counter(finding.kind for finding in findings))
    examples = tuple(
        {name: value for name, value in asdict(finding).items() if value is not None}
        for finding in findings[:MAX_EXAMPLES]
    )
    return Report({checked: count}, by_kind, by_kind if repaired else {}, examples, freed)


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """One run of maintenance over a tenant.

    Attributes
    ----------
    cursor : where its next slice begins; a slice with another cursor was done already.
    due : when the schedule continues it, unless its own events did.
    error : why it stopped early.
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
        """The run after one more slice."""
        slices, report = self.slices + 1, self.report + report
        return replace(self, cursor=cursor, slices=slices, report=report, due=due, ended_at=ended_at)


class MaintenanceRuns(Protocol):
    """Runs of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def start(self, run: MaintenanceRun, grace: timedelta) -> bool:
        """Store a new run. False while another run of its type and tenant has not ended.

        A sweep that is not a dry run becomes the tenant's last sweep. Changes within ``grace`` before it count as
        changes after it, since the sweep ignores them.
        """

    def find(self, run_id: str) -> MaintenanceRun | None: ...

    def of_tenant(self, tenant_id: str | None, limit: int) -> list[MaintenanceRun]:
        """Newest first; of all tenants for None."""

    def move(self, run: MaintenanceRun, before: str) -> bool:
        """Store how far a run has come. False unless its cursor was still ``before``."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[MaintenanceRun]:
        """Runs that are due; they get the new time ``due``. One query over all tenants."""

    def wake(self, tenant_ids: Collection[str], pending: int, rest: datetime, due: datetime) -> list[MaintenanceRun]:
        """Resting scans of these tenants that are due before ``rest``, if fewer than ``pending`` images are pending.

        They get the new time ``due``, so that each is returned once.
        """

    def sweeps_due(self, now: datetime, every: timedelta, limit: int) -> list[str]:
        """Tenants without a running sweep that changed since their last one, which began before ``now - every``."""

    def forget(self, before: datetime, limit: int) -> int:
        """Delete runs that ended before then; returns how many."""

    def changed(self, tenant_ids: Collection[str], now: datetime) -> None:
        """Note that tenants have changed."""


def judge_row(
    row: Row,
    before: datetime,
    expected: Sequence[str],
    existing: Collection[str],
    lacking: Iterable[str] = (),
) -> list[Finding]:
    """The findings about a row that was last changed before ``before``.

    Parameters
    ----------
    expected : key of its original, empty if DeepLens does not store it, then the keys of its derived files.
    existing : keys that exist, among others.
    lacking : models, as ``name version``, whose vector is recorded but not in the index.
    """
    if isinstance(row, Tombstone):
        # A merged image may be restored for a while; then its merge deletes it.
        unfinished = row.receipt is None and row.merged_into is None and row.deleted_at < before
        return [Finding("half-done-delete", row.id)] if unfinished else []
    if row.updated_at >= before or row.step is Step.FAILED or not expected:
        return []
    original, *derived = expected
    if original and original not in existing:
        return [Finding("row-without-object", row.id, original)]
    if row.step is not Step.COMPLETED:
        # Images in flight are in ``pending_images``, from where they are sent again.
        return []
    missing = [key for key in derived if key not in existing]
    if missing:
        return [Finding("row-without-derived", row.id, missing[0])]
    return [Finding("row-without-vector", row.id, model) for model in lacking]


def judge_object(entry: ObjectInfo, row: Row | None, before: datetime) -> Finding | None:
    """The finding about an object whose image never existed or whose row was deleted."""
    if entry.modified_at >= before or not is_gone(row, before):
        return None
    return Finding("object-without-row" if entry.key.startswith("images/") else "derived-without-row", entry.key)


def judge_point(point: IndexedPoint, row: Row | None, before: datetime) -> Finding | None:
    """The finding about a vector without an image; a vector is younger than its image's upload."""
    uploaded_at = datetime.fromisoformat(point.uploaded_at) if point.uploaded_at else None
    if (uploaded_at is not None and uploaded_at >= before) or not is_gone(row, before):
        return None
    return Finding("vector-without-row", point.id, point.image_id)


def is_gone(row: Row | None, before: datetime) -> bool:
    """Whether nothing of an image may be left. A tombstone without a receipt is a deletion in progress."""
    if isinstance(row, Tombstone):
        return row.receipt is not None and row.deleted_at < before
    return row is None


def _sum(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in first | second}
