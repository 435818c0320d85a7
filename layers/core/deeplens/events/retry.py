"""What waits in the delay queue."""

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from deeplens.common.event import Event, ImageId, TenantId
from deeplens.events.failures import SourceRecord


def _whole(record: SourceRecord) -> SourceRecord:
    """Raises ``ValueError`` for a record whose value was not kept, or is not base64."""
    if record.value is None:
        raise ValueError("the record's value was not kept")
    try:
        b64decode(record.value, validate=True)
        b64decode(record.key or "", validate=True)
    except NotBase64 as error:
        raise ValueError(f"not base64: {error}") from None
    return record


class Retry(Event):
    """A failed record, to be sent to its topic again as it was.

    ``attempt_number`` is that of the attempt to come; whose record it is, and where it failed, is for those who find
    it in a redrive queue.
    """

    record: Annotated[SourceRecord, AfterValidator(_whole)]
    attempt_number: int = Field(ge=1)
    due: AwareDatetime
    tenant_id: TenantId | None = None
    image_id: ImageId | None = None
    stage: str | None = None
