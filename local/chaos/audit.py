"""Check the promise: no photo is lost, each has one vector and one set of files, and nothing is left over."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from deeplens.bootstrap.container import Container
from deeplens.events.topics import TOPICS
from deeplens.failures.model import DeadLetterFilter, KeptDeadLetter, replay_blocker
from deeplens.images.keys import derived_keys
from deeplens.images.model import ImageRecord, Step
from deeplens.maintenance.model import MaintenanceRun
from deeplens.maintenance.sweep import Sweep
from deeplens.tenants.model import Tenant
from deeplens.vectors.filters import point_id
from deeplens.vectors.ports import IndexedPoint

PAGE = 500


@dataclass
class Audit:
    """What was counted, and each violation in words.

    Attributes
    ----------
    counts : ``completed`` and ``failed_with_reason``; all others are of violations.
    """

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def violated(self, count: str, subject: str, what: str) -> None:
        self.counts[count] += 1
        self.violations.append(f"{subject}: {what}")


@dataclass(frozen=True, slots=True)
class Expected:
    """One tenant's photos: image ids of all uploads, of those answered 202, and of those that have to fail."""

    tenant: Tenant
    uploaded: frozenset[str]
    accepted: frozenset[str]
    broken: frozenset[str]


def audit(container: Container, expected: Sequence[Expected], pending: Collection[str]) -> Audit:
    """Check every tenant's rows, vectors, objects and dead letters; ``pending`` are unfinished images."""
    found = Audit()
    for image_id in sorted(pending):
        found.violated("stuck", image_id, "is still pending")
    for one in expected:
        rows = rows_of(container, one.tenant)
        _audit_rows(found, one, rows)
        _audit_vectors(found, one.tenant, rows, list(points_of(container, one.tenant)))
        _audit_objects(found, container, one.tenant, rows)
        _audit_letters(found, one, letters_of(container, one.tenant))
        _audit_sweep(found, container, one.tenant)
        _audit_usage(found, container, one.tenant, rows)
    return found


def rows_of(container: Container, tenant: Tenant) -> dict[str, ImageRecord]:
    rows: dict[str, ImageRecord] = {}
    while page := container.images.after(tenant, max(rows, default=""), PAGE):
        rows.update((row.id, row) for row in page if isinstance(row, ImageRecord))
    return rows


def points_of(container: Container, tenant: Tenant) -> Iterator[IndexedPoint]:
    start: str | None = None
    while True:
        page = container.index.scroll(tenant, start, PAGE)
        yield from page.points
        if (start := page.following) is None:
            return


def letters_of(container: Container, tenant: Tenant) -> list[KeptDeadLetter]:
    letters: list[KeptDeadLetter] = []
    while True:
        after = (letters[-1].entry.failed_at, letters[-1].entry.id) if letters else None
        page = container.dead_letters.page(DeadLetterFilter(tenant_id=tenant.id), after, PAGE)
        if not page:
            return letters
        letters += page


def _audit_rows(found: Audit, expected: Expected, rows: Mapping[str, ImageRecord]) -> None:
    for image_id in sorted(expected.accepted - rows.keys()):
        found.violated("lost", image_id, "was answered 202 and has no row")
    for image_id in sorted(rows.keys() - expected.uploaded):
        found.violated("orphans", image_id, "has a row that nobody uploaded")
    for row in rows.values():
        if row.step not in (Step.COMPLETED, Step.FAILED):
            found.violated("stuck", row.id, f"ended as {row.step.name.lower()}")
        elif (row.id in expected.broken) != (row.step is Step.FAILED):
            found.violated("wrong_ends", row.id, f"{row.step.name.lower()} {row.error_code}: {row.error_message}")
        elif row.step is Step.FAILED and not (row.error_code and row.error_message):
            found.violated("wrong_ends", row.id, "failed without a reason")
        else:
            found.counts["completed" if row.step is Step.COMPLETED else "failed_with_reason"] += 1


def _audit_vectors(
    found: Audit, tenant: Tenant, rows: Mapping[str, ImageRecord], points: Sequence[IndexedPoint]
) -> None:
    completed = {row.id for row in rows.values() if row.step is Step.COMPLETED}
    counted = Counter(point.image_id for point in points)
    for image_id, count in counted.items():
        if count > 1:
            found.violated("duplicate_vectors", str(image_id), f"has {count} vectors")
        if image_id not in completed:
            found.violated("orphans", f"{tenant.id} {image_id}", "has a vector but is not completed")
    for point in points:
        if point.image_id and point.id != point_id(point.image_id):
            found.violated("duplicate_vectors", point.image_id, f"has a vector under another id, {point.id}")
    for image_id in sorted(completed - counted.keys()):
        found.violated("lost", image_id, "completed without a vector")


def _audit_objects(found: Audit, container: Container, tenant: Tenant, rows: Mapping[str, ImageRecord]) -> None:
    store = container.stores.for_tenant(tenant)
    originals = {store.key_of(row.storage_path) for row in rows.values()}
    derived = {key for row in rows.values() if row.step is Step.COMPLETED for key in derived_keys(row.id)}
    standing = {entry.key for entry in store.list()}
    for key in sorted((originals | derived) - standing):
        found.violated("lost", key, "is not there")
    for key in sorted(standing - originals - derived):
        found.violated("orphans", key, "belongs to no row, or to none that is completed")


def _audit_letters(found: Audit, expected: Expected, letters: Sequence[KeptDeadLetter]) -> None:
    """Check that each broken photo has a dead letter that operators can replay, and nothing else has one."""
    topics = {topic.name for topic in TOPICS}
    counted = Counter(letter.entry.image_id for letter in letters)
    for letter in letters:
        entry = letter.entry
        if entry.image_id not in expected.broken:
            found.violated("dead_letters", entry.id, f"{entry.image_id} {entry.error_code}: {entry.error_message}")
        elif reason := replay_blocker(letter, topics):
            found.violated("dead_letters", entry.id, f"cannot be replayed: {reason}")
    for image_id in sorted(expected.broken & expected.accepted):
        if counted[image_id] != 1:
            found.violated("dead_letters", image_id, f"failed with {counted[image_id]} dead letters")


def _audit_sweep(found: Audit, container: Container, tenant: Tenant) -> None:
    """Check that a sweep without a grace period finds nothing to delete."""
    now = container.clock.now()
    run = MaintenanceRun("mnt_chaos", tenant.id, "sweep", True, now, now)
    for page in container.build(Sweep).pages(tenant, run, now + timedelta(minutes=1)):
        for example in page.report.examples:
            found.violated("orphans", example["subject"], f"{example['kind']} {example.get('detail', '')}")


def _audit_usage(found: Audit, container: Container, tenant: Tenant, rows: Mapping[str, ImageRecord]) -> None:
    completed = sum(row.step is Step.COMPLETED for row in rows.values())
    if (metered := metered_of(container, tenant)) != completed:
        found.violated("wrong_ends", tenant.id, f"{completed} images are completed, {metered:.0f} are metered")


def metered_of(container: Container, tenant: Tenant) -> float:
    today = container.clock.now().date()
    days = container.usage.days(tenant.id, today - timedelta(days=1), today)
    return sum(day.quantity for day in days if day.metric == "images.completed")
