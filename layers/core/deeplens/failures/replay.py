"""Put failed images back into progress, and replay dead letters: send their records to their topics again."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json

from deeplens.common.groups import grouped
from deeplens.common.outgoing import OutgoingRecord
from deeplens.common.ports import Clock, EventPublisher
from deeplens.errors import ApiError, TenantNotFound
from deeplens.events.failures import SourceRecord
from deeplens.events.ids import with_upload_id
from deeplens.events.images import ImageEvent, ImageUploaded
from deeplens.events.topics import PROCESSING_FAILED, RETRIES, TOPIC_OF
from deeplens.failures.model import DeadLetterEntry, DeadLetters, replay_blocker
from deeplens.failures.send_again import outgoing_record
from deeplens.images.model import ImageRecord, StageResult, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages, image_uploaded
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory

REPLAYABLE = frozenset({*RETRIES, PROCESSING_FAILED.name})
"""Topics that stages consume, except the topic of dead letters."""
IMAGE_TOPICS = frozenset(topic.name for contract, topic in TOPIC_OF.items() if issubclass(contract, ImageEvent))
UNDELIVERED = "the broker did not take it; repeat"


@dataclass(frozen=True)
class Renew:
    """Raise a failed image's generation: accepted and pending again, its error gone, its late events dropped.

    Pending comes first: if the rest is lost, the schedule sends the image again when it is due.
    """

    images: ImageRepository
    admit_images: AdmitImages
    clock: Clock

    def __call__(self, tenant: Tenant, image: ImageRecord, stage: str) -> tuple[ImageUploaded, bool]:
        """The event that processes it from the start, and whether the tenant's window has room to publish it now.

        ``stage`` names the entry of its timeline.
        """
        now, generation = self.clock.now(), image.generation + 1
        event = image_uploaded(tenant.id, replace(image, generation=generation))
        admission = self.admit_images.admit(event)
        self.images.advance(tenant, [StageResult(image.id, generation, Step.ACCEPTED, stage, now)])
        return event, admission.released


@dataclass(frozen=True)
class RetryImage:
    """Process a failed image from the start and settle its dead letters. A repeat is refused: it has not failed."""

    renew: Renew
    dead_letters: DeadLetters
    clock: Clock

    def __call__(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """The events to publish: none while the tenant's window is full."""
        if image.step is not Step.FAILED:
            detail = f"It is {image.step.name.lower()}; only a failed image can be retried."
            raise ApiError(409, "image-not-failed", "Image not failed", detail)
        event, released = self.renew(tenant, image, "retry")
        self.dead_letters.settle_image(tenant.id, image.id, "retried by its tenant", self.clock.now())
        return (with_upload_id(event),) if released else ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one letter.

    Attributes
    ----------
    refused : why it is not replayed.
    tenant, image : the failed image to put back into progress before its record is sent.
    """

    letter: DeadLetterEntry
    refused: str | None = None
    tenant: Tenant | None = None
    image: ImageRecord | None = None


@dataclass(frozen=True)
class Replay:
    """Replay letters: send each record as it was.

    A failed image is put back into progress, one generation further, so that it shows as such, is pending, and its
    record is not dropped as late. A letter counts as replayed once its record is delivered: a crash before may send it
    twice, which is harmless, but never loses it.
    """

    tenants: TenantDirectory
    images: ImageRepository
    renew: Renew
    dead_letters: DeadLetters
    publisher: EventPublisher
    clock: Clock

    def __call__(
        self, letters: Sequence[DeadLetterEntry], *, force: bool = False, dry_run: bool = False
    ) -> list[Verdict]:
        """One verdict per letter, in order; a dry run only predicts them."""
        verdicts = self._verdicts(letters, force)
        if dry_run:
            return verdicts
        sent = self._send([verdict for verdict in verdicts if verdict.refused is None])
        done = [letter_id for letter_id, delivered in sent.items() if delivered]
        if done:
            self.dead_letters.mark_replayed(done, self.clock.now())
        return [
            verdict if verdict.refused or sent[verdict.letter.id] else replace(verdict, refused=UNDELIVERED)
            for verdict in verdicts
        ]

    def _verdicts(self, letters: Sequence[DeadLetterEntry], force: bool) -> list[Verdict]:
        verdicts = {letter.id: Verdict(letter, replay_blocker(letter, REPLAYABLE, force=force)) for letter in letters}
        about_images = [letter for letter in letters if verdicts[letter.id].refused is None and _is_about_image(letter)]
        for tenant_id, group in grouped(about_images, lambda letter: letter.tenant_id or "").items():
            verdicts.update((verdict.letter.id, verdict) for verdict in self._tenant_verdicts(tenant_id, group))
        return [verdicts[letter.id] for letter in letters]

    def _tenant_verdicts(self, tenant_id: str, letters: Sequence[DeadLetterEntry]) -> list[Verdict]:
        try:
            tenant = self.tenants.get(tenant_id, fresh=True)
        except TenantNotFound:
            return [Verdict(letter, "its tenant is gone") for letter in letters]
        rows = self.images.find(tenant, [letter.image_id or "" for letter in letters])
        return [_image_verdict(letter, tenant, rows.get(letter.image_id or "")) for letter in letters]

    def _send(self, verdicts: Sequence[Verdict]) -> dict[str, bool]:
        """Whether each letter's record is delivered, or pending until the tenant's window has room."""
        sent: dict[str, bool] = {}
        records: dict[str, OutgoingRecord] = {}
        for verdict in verdicts:
            letter, generation = verdict.letter, None
            if verdict.tenant and verdict.image:
                event, released = self.renew(verdict.tenant, verdict.image, "replay")
                generation = event.generation
                if not released:
                    sent[letter.id] = True
                    continue
            records[letter.id] = _record(letter, generation)
        delivered = self.publisher.resend([*records.values()]) if records else []
        return sent | dict(zip(records, delivered, strict=True))


def _is_about_image(letter: DeadLetterEntry) -> bool:
    return bool(letter.tenant_id and letter.image_id and letter.source and letter.source.topic in IMAGE_TOPICS)


def _image_verdict(letter: DeadLetterEntry, tenant: Tenant, row: ImageRecord | Tombstone | None) -> Verdict:
    """A letter about an image follows its row: nothing revives a deleted one or overtakes a newer generation."""
    if not isinstance(row, ImageRecord):
        return Verdict(letter, "its image is gone")
    generation = _value(letter.source).get("generation")
    if row.generation > (generation if isinstance(generation, int) else 1):
        return Verdict(letter, "its image was sent again since")
    return Verdict(letter, None, tenant, row if row.step is Step.FAILED else None)


def _value(source: SourceRecord | None) -> dict[str, Any]:
    """The record's value; empty where it is no JSON object."""
    try:
        value = from_json(b64decode((source and source.value) or ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _record(letter: DeadLetterEntry, generation: int | None) -> OutgoingRecord:
    source = letter.source
    if source is None:
        raise TypeError("a letter without its record was refused before")
    value = _value(source)
    if generation is not None and value:
        renewed = json.dumps(value | {"generation": generation}, separators=(",", ":")).encode()
        source = source.model_copy(update={"value": b64encode(renewed).decode()})
    return outgoing_record(source, 1, letter.replays_in_all + 1, letter)
