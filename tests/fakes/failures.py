"""Dead letters in memory, held to ``PostgresDeadLetters`` by ``tests/integration``."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetterGroup


class FakeDeadLetters:
    """``DeadLetters`` whose ``letters`` tests may read, by id."""

    def __init__(self) -> None:
        self.kept: dict[str, DeadLetterEntry] = {}

    @property
    def letters(self) -> dict[str, DeadLetterEntry]:
        return dict(self.kept)

    def store(self, letters: Sequence[DeadLetterEntry]) -> None:
        for letter in letters:
            self.kept.setdefault(letter.id, letter)

    def page(self, where: DeadLetterFilter, after: tuple[datetime, str] | None, limit: int) -> list[DeadLetterEntry]:
        letters = [letter for letter in self.kept.values() if _matches(letter, where)]
        letters.sort(key=_position, reverse=True)
        return [letter for letter in letters if after is None or _position(letter) < after][:limit]

    def groups(self, where: DeadLetterFilter, limit: int) -> list[DeadLetterGroup]:
        times: dict[tuple[str, str | None], list[datetime]] = {}
        for letter in self.kept.values():
            if _matches(letter, where):
                times.setdefault((letter.error_code, letter.stage), []).append(letter.failed_at)
        groups = [DeadLetterGroup(code, stage, len(at), min(at), max(at)) for (code, stage), at in times.items()]
        return sorted(groups, key=lambda group: (-group.count, group.code, group.stage or "\uffff"))[:limit]

    def mark_replayed(self, ids: Sequence[str], now: datetime) -> None:
        for letter_id in ids:
            letter = self.kept[letter_id]
            self.kept[letter_id] = replace(
                letter, state="replayed", replays=letter.replays + 1, settled_at=now, reason=None
            )

    def settle_image(self, tenant_id: str, image_id: str, reason: str, now: datetime) -> None:
        for letter_id, letter in self.kept.items():
            if (letter.tenant_id, letter.image_id, letter.state) == (tenant_id, image_id, "open"):
                self.kept[letter_id] = replace(letter, state="replayed", settled_at=now, reason=reason)

    def discard(self, letter_id: str, reason: str, now: datetime) -> bool:
        letter = self.kept.get(letter_id)
        if letter is None or letter.state != "open":
            return False
        self.kept[letter_id] = replace(letter, state="discarded", settled_at=now, reason=reason)
        return True


def _position(letter: DeadLetterEntry) -> tuple[datetime, str]:
    return letter.failed_at, letter.id


def _matches(letter: DeadLetterEntry, where: DeadLetterFilter) -> bool:
    given = [
        (where.tenant_id, letter.tenant_id),
        (where.code, letter.error_code),
        (where.stage, letter.stage),
        (where.state, letter.state),
    ]
    return (
        (not where.ids or letter.id in where.ids)
        and all(wanted is None or wanted == own for wanted, own in given)
        and (where.failed_from is None or letter.failed_at >= where.failed_from)
        and (where.failed_before is None or letter.failed_at < where.failed_before)
    )
