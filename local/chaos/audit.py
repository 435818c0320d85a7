"""Check that no photo is lost, that each has one vector and one set of files, and that nothing else is stored."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from deeplens.bootstrap.container import Container
from deeplens.events.topics import TOPICS
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, replay_blocker
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
    """Counts of images and violations, and a description of each violation.

    Attributes
    ----------
    counts : ``completed`` and ``failed_with_reason`` count images; all others count violations.
    """

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add_violation(self, kind: str, subject: str, problem: str) -> None:
        self.counts[kind] += 1
        self.violations.append(f"{subject}: {problem}")


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected image ids of a tenant: of all uploads, of those with the answer 202, and of those that must fail."""

    tenant: Tenant
    uploaded: frozenset[str]
    accepted: frozenset[str]
    broken: frozenset[str]


def audit(container: Container, expected: Sequence[Expected], pending: Collection[str]) -> Audit:
    """Check every tenant's rows, vectors, objects and dead letters; ``pending`` are unfinished images."""
    result = Audit()
    for image_id in sorted(pending):
        result.add_violation("stuck", image_id, "is still pending")
    for photos in expected:
        tenant, rows = photos.tenant, rows_of(container, photos.tenant)
        _audit_rows(result, photos, rows)
        _audit_vectors(result, tenant, rows, list(points_of(container, tenant)))
        _audit_objects(result, container, tenant, rows)
        _audit_dead_letters(result, photos, dead_letters_of(container, tenant))
        _audit_sweep(result, container, tenant)
        _audit_usage(result, container, tenant, rows)
    return result


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


def dead_letters_of(container: Container, tenant: Tenant) -> list[DeadLetterEntry]:
    letters: list[DeadLetterEntry] = []
    while True:
        after = (letters[-1].failed_at, letters[-1].id) if letters else None
        page = container.dead_letters.page(DeadLetterFilter(tenant_id=tenant.id), after, PAGE)
        if not page:
            return letters
        letters += page


def _audit_rows(result: Audit, expected: Expected, rows: Mapping[str, ImageRecord]) -> None:
    for image_id in sorted(expected.accepted - rows.keys()):
        result.add_violation("lost", image_id, "has no row although its upload got the answer 202")
    for image_id in sorted(rows.keys() - expected.uploaded):
        result.add_violation("orphans", image_id, "has a row although nobody uploaded it")
    for row in rows.values():
        if row.step not in (Step.COMPLETED, Step.FAILED):
            result.add_violation("stuck", row.id, f"ended as {row.step.name.lower()}")
        elif (row.id in expected.broken) != (row.step is Step.FAILED):
            result.add_violation("wrong_ends", row.id, f"{row.step.name.lower()} {row.error_code}: {row.error_message}")
        elif row.step is Step.FAILED and not (row.error_code and row.error_message):
            result.add_violation("wrong_ends", row.id, "failed without an error code and message")
        else:
            result.counts["completed" if row.step is Step.COMPLETED else "failed_with_reason"] += 1


def _audit_vectors(
    result: Audit, tenant: Tenant, rows: Mapping[str, ImageRecord], points: Sequence[IndexedPoint]
) -> None:
    completed = {row.id for row in rows.values() if row.step is Step.COMPLETED}
    counted = Counter(point.image_id for point in points)
    for image_id, count in counted.items():
        if count > 1:
            result.add_violation("duplicate_vectors", str(image_id), f"has {count} vectors")
        if image_id not in completed:
            result.add_violation("orphans", f"{tenant.id} {image_id}", "has a vector but is not completed")
    for point in points:
        if point.image_id and point.id != point_id(point.image_id):
            result.add_violation("duplicate_vectors", point.image_id, f"has a vector under another id, {point.id}")
    for image_id in sorted(completed - counted.keys()):
        result.add_violation("lost", image_id, "completed without a vector")


def _audit_objects(result: Audit, container: Container, tenant: Tenant, rows: Mapping[str, ImageRecord]) -> None:
    store = container.stores.for_tenant(tenant)
    originals = {store.key_of(row.storage_path) for row in rows.values()}
    derived = {key for row in rows.values() if row.step is Step.COMPLETED for key in derived_keys(row.id)}
    stored = {entry.key for entry in store.list()}
    for key in sorted((originals | derived) - stored):
        result.add_violation("lost", key, "is missing")
    for key in sorted(stored - originals - derived):
        result.add_violation("orphans", key, "belongs to no completed image")


def _audit_dead_letters(result: Audit, expected: Expected, letters: Sequence[DeadLetterEntry]) -> None:
    """Check that exactly the broken photos have a dead letter, and that operators can replay it."""
    topics = {topic.name for topic in TOPICS}
    counted = Counter(letter.image_id for letter in letters)
    for letter in letters:
        if letter.image_id not in expected.broken:
            result.add_violation(
                "dead_letters", letter.id, f"{letter.image_id} {letter.error_code}: {letter.error_message}"
            )
        elif reason := replay_blocker(letter, topics):
            result.add_violation("dead_letters", letter.id, f"cannot be replayed: {reason}")
    for image_id in sorted(expected.broken & expected.accepted):
        if counted[image_id] != 1:
            result.add_violation("dead_letters", image_id, f"has {counted[image_id]} dead letters instead of one")


def _audit_sweep(result: Audit, container: Container, tenant: Tenant) -> None:
    """Check that a sweep without a grace period finds nothing to delete."""
    now = container.clock.now()
    run = MaintenanceRun("mnt_chaos", tenant.id, "sweep", True, now, now)
    for page in container.build(Sweep).pages(tenant, run, now + timedelta(minutes=1)):
        for example in page.report.examples:
            result.add_violation("orphans", example["subject"], f"{example['kind']} {example.get('detail', '')}")


def _audit_usage(result: Audit, container: Container, tenant: Tenant, rows: Mapping[str, ImageRecord]) -> None:
    completed = sum(row.step is Step.COMPLETED for row in rows.values())
    if (metered := metered_of(container, tenant)) != completed:
        result.add_violation("wrong_ends", tenant.id, f"{completed} images are completed, {metered:.0f} are metered")


def metered_of(container: Container, tenant: Tenant) -> float:
    today = container.clock.now().date()
    days = container.usage.days(tenant.id, today - timedelta(days=1), today)
    return sum(day.quantity for day in days if day.metric == "images.completed")
