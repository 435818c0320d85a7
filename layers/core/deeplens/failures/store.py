"""deeplens.processing.deadletter → dead_letters, for listing and replay"""

from collections.abc import Sequence
from typing import ClassVar

from deeplens.common.stage import Done, Outcome
from deeplens.events.failures import DeadLetter
from deeplens.failures.model import DeadLetterEntry, DeadLetters


class StoreDeadLetters:
    """Keep dead letters in the platform database. Consumes ``DeadLetter``, emits nothing; a letter is kept once."""

    name: ClassVar = "store_dead_letters"
    consumes: ClassVar = DeadLetter

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters

    def __call__(self, batch: Sequence[DeadLetter]) -> list[Outcome]:
        self._dead_letters.store([_entry(letter) for letter in batch])
        return [Done()] * len(batch)


def _entry(letter: DeadLetter) -> DeadLetterEntry:
    return DeadLetterEntry(
        id=letter.dead_letter_id,
        tenant_id=letter.tenant_id,
        image_id=letter.image_id,
        stage=letter.stage,
        error_code=letter.error.code,
        error_message=letter.error.message,
        attempt=letter.attempt_number,
        failed_at=letter.failed_at,
        source=letter.source,
    )
