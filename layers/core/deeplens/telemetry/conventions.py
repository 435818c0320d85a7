"""Names and attributes of spans, pinned to the OpenTelemetry semantic conventions 1.37; nothing else leaves.

Tenant, image and video ids are ours and may appear. Names of files and objects, texts, tokens, addresses of tenants
and messages of errors may not.
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
SERVICE_NAMESPACE: Final = "deeplens"

type Value = str | int | float | bool
type Attributes = Mapping[str, Value | None]


class Kind(IntEnum):
    """``SpanKind`` of OTLP."""

    INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5


TENANT, IMAGE, VIDEO, STAGE = "deeplens.tenant.id", "deeplens.image.id", "deeplens.video.id", "deeplens.stage"
GENERATION, ATTEMPT, REPLAYS = "deeplens.generation", "deeplens.attempt", "deeplens.replays"
OUTCOME, DEPENDENCY, SHARED = "deeplens.outcome", "deeplens.dependency", "deeplens.shared_by"
QUEUE_MS, DECODE_MS, RUN_MS = "deeplens.inference.queue_ms", "deeplens.inference.decode_ms", "deeplens.inference.run_ms"
ERROR_TYPE = "error.type"
HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS = "http.request.method", "http.route", "http.response.status_code"
SYSTEM, OPERATION_NAME, OPERATION_TYPE = "messaging.system", "messaging.operation.name", "messaging.operation.type"
DESTINATION, PARTITION = "messaging.destination.name", "messaging.destination.partition.id"
GROUP, BATCH_COUNT = "messaging.consumer.group.name", "messaging.batch.message_count"
MESSAGE_ID, OFFSET, TOMBSTONE = "messaging.message.id", "messaging.kafka.offset", "messaging.kafka.message.tombstone"
DB_SYSTEM, DB_NAMESPACE, DB_OPERATION = "db.system.name", "db.namespace", "db.operation.name"
MODEL, PROVIDER, MODEL_OPERATION = "gen_ai.request.model", "gen_ai.provider.name", "gen_ai.operation.name"
RPC_SYSTEM, RPC_SERVICE, RPC_METHOD = "rpc.system", "rpc.service", "rpc.method"

MESSAGE = re.compile(r"[A-Za-z0-9_./:-]{1,64}")
SHORT = re.compile(r"[ -~]{1,200}")
ID = re.compile(r"[a-z]+_[a-z0-9_]{1,40}")
"""Ids of tenants, images and videos: what does not look like one was put there by somebody else."""
ALLOWED: Final[Mapping[str, re.Pattern[str]]] = {
    **dict.fromkeys((TENANT, IMAGE, VIDEO), ID),
    MESSAGE_ID: MESSAGE,
    **dict.fromkeys(
        (
            *(STAGE, GENERATION, ATTEMPT, REPLAYS, OUTCOME, DEPENDENCY, SHARED, QUEUE_MS, DECODE_MS, RUN_MS),
            *(ERROR_TYPE, HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, SYSTEM, OPERATION_NAME, OPERATION_TYPE, DESTINATION),
            *(PARTITION, GROUP, BATCH_COUNT, OFFSET, TOMBSTONE, DB_SYSTEM, DB_NAMESPACE, DB_OPERATION),
            *(MODEL, PROVIDER, MODEL_OPERATION, RPC_SYSTEM, RPC_SERVICE, RPC_METHOD),
        ),
        SHORT,
    ),
}
"""The allow-list: the attributes of spans, and what their texts look like."""


def ids_of(item: object) -> dict[str, Value]:
    """Tenant, image and video of an event or a row, as attributes of every span of its work."""
    ids = {TENANT: "tenant_id", IMAGE: "image_id", VIDEO: "video_id"}
    return {name: value for name, field in ids.items() if isinstance(value := getattr(item, field, None), str)}


def allowed(attributes: Attributes) -> dict[str, Value]:
    """The attributes that may leave; others, and texts of another form, are left out."""
    return {
        name: value
        for name, value in attributes.items()
        if name in ALLOWED
        and value is not None
        and (not isinstance(value, str) or ALLOWED[name].fullmatch(value) is not None)
    }
