"""Replay dead letters: send their records to their topics again."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeplens.common.outgoing import OutgoingRecord
from deeplens.common.ports import Clock, EventPublisher
from deeplens.errors import TenantNotFound
from deeplens.events.failures import SourceRecord
from deeplens.events.images import ImageEvent
from deeplens.events.topics import PROCESSING_FAILED, RETRIES, TOPIC_OF
from deeplens.failures.model import DeadLetters, KeptDeadLetter, replay_blocker
from deeplens.failures.renew import Renew
from deeplens.failures.send_again import again
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory

REPLAYABLE = frozenset({*RETRIES, PROCESSING_FAILED.name})
"""Topics that stages consume, but for the dead letters' own."""
OF_IMAGES = frozenset(topic.name for contract, topic in TOPIC_OF.items() if issubclass(contract, ImageEvent))
UNDELIVERED = "the broker did not take it; repeat"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one letter; ``refused`` says why it was not sent again."""

    letter: KeptDeadLetter
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """``image`` is to be put back into work first."""

    letter: KeptDeadLetter
    refused: str | None = None
    tenant: Tenant | None = None
    image: ImageRecord | None = None


class Replay:
    """Send letters again, each as the record it was.

    A failed image is put back into work, one generation further, so that it shows as such, is pending, and its record
    is not dropped as late. A letter counts as replayed once its record is delivered: a crash before may send it twice,
    which is harmless, but never loses it.
    """

    def __init__(
        self,
        tenants: TenantDirectory,
        images: ImageRepository,
        renew: Renew,
        dead_letters: DeadLetters,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._tenants, self._images, self._renew = tenants, images, renew
        self._dead_letters, self._publisher, self._clock = dead_letters, publisher, clock

    def __call__(
        self, letters: Sequence[KeptDeadLetter], *, force: bool = False, dry_run: bool = False
    ) -> list[Verdict]:
        """One verdict per letter, in order; of a dry run, what it would be."""
        plans = self._planned(letters, force)
        if dry_run:
            return [Verdict(plan.letter, plan.refused) for plan in plans]
        sent = self._send([plan for plan in plans if plan.refused is None])
        done = [letter_id for letter_id, arrived in sent.items() if arrived]
        if done:
            self._dead_letters.mark_replayed(done, self._clock.now())
        return [
            Verdict(plan.letter, plan.refused or (None if sent[plan.letter.entry.id] else UNDELIVERED))
            for plan in plans
        ]

    def _planned(self, letters: Sequence[KeptDeadLetter], force: bool) -> list[_Plan]:
        plans: dict[str, _Plan] = {}
        by_tenant: dict[str, list[KeptDeadLetter]] = {}
        for letter in letters:
            plans[letter.entry.id] = _Plan(letter, replay_blocker(letter, REPLAYABLE, force=force))
            if plans[letter.entry.id].refused is None and _of_image(letter):
                by_tenant.setdefault(letter.entry.tenant_id or "", []).append(letter)
        for tenant_id, own in by_tenant.items():
            plans.update((plan.letter.entry.id, plan) for plan in self._of_tenant(tenant_id, own))
        return [plans[letter.entry.id] for letter in letters]

    def _of_tenant(self, tenant_id: str, letters: Sequence[KeptDeadLetter]) -> list[_Plan]:
        try:
            tenant = self._tenants.get(tenant_id, fresh=True)
        except TenantNotFound:
            return [_Plan(letter, "its tenant is gone") for letter in letters]
        found = self._images.find(tenant, [letter.entry.image_id or "" for letter in letters])
        return [_image_plan(letter, tenant, found.get(letter.entry.image_id or "")) for letter in letters]

    def _send(self, plans: Sequence[_Plan]) -> dict[str, bool]:
        """Whether each letter is on its way: delivered, or pending behind the tenant's window."""
        sent: dict[str, bool] = {}
        records: dict[str, OutgoingRecord] = {}
        for plan in plans:
            letter_id, generation = plan.letter.entry.id, None
            if plan.tenant and plan.image:
                event, released = self._renew(plan.tenant, plan.image, "replay")
                generation = event.generation
                if not released:
                    sent[letter_id] = True
                    continue
            records[letter_id] = _record(plan.letter, generation)
        delivered = self._publisher.resend([*records.values()]) if records else []
        return sent | dict(zip(records, delivered, strict=True))


def _of_image(letter: KeptDeadLetter) -> bool:
    entry = letter.entry
    return bool(entry.tenant_id and entry.image_id and entry.source and entry.source.topic in OF_IMAGES)


def _image_plan(letter: KeptDeadLetter, tenant: Tenant, row: ImageRecord | Tombstone | None) -> _Plan:
    """A letter about an image follows its row: nothing revives a deleted one or overtakes a newer generation."""
    if not isinstance(row, ImageRecord):
        return _Plan(letter, "its image is gone")
    if row.generation > generation_of(letter):
        return _Plan(letter, "its image was sent again since")
    return _Plan(letter, None, tenant, row if row.step is Step.FAILED else None)


def generation_of(letter: KeptDeadLetter) -> int:
    given = _value(letter.entry.source).get("generation")
    return given if isinstance(given, int) else 1


def _value(source: SourceRecord | None) -> dict[str, Any]:
    """The record's value; empty where it is no JSON object."""
    try:
        value = json.loads(b64decode((source and source.value) or ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _record(letter: KeptDeadLetter, generation: int | None) -> OutgoingRecord:
    source = letter.entry.source
    if source is None:
        raise TypeError("a letter without its record was refused before")
    value = _value(source)
    if generation is not None and value:
        renewed = json.dumps(value | {"generation": generation}, separators=(",", ":")).encode()
        source = source.model_copy(update={"value": b64encode(renewed).decode()})
    return again(source, 1, letter.replays_in_all + 1)
