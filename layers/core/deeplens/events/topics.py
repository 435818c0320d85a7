"""The registry of topics: contract, producers and consumers. A test compares it with ``template.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from deeplens.common.backoff import Backoff
from deeplens.common.event import Event
from deeplens.events.duplicates import DuplicatesFound
from deeplens.events.failures import DeadLetter, ProcessingFailed
from deeplens.events.images import (
    FeatureExtractionRequested,
    ImageUploaded,
    ProcessingCompleted,
    VectorIndexingRequested,
)
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.events.usage import TenantUsage
from deeplens.events.videos import VideoUploaded
from deeplens.events.whatsapp import WhatsAppMessage

WEEK, MONTH, QUARTER = timedelta(days=7), timedelta(days=30), timedelta(days=90)
INTERACTIVE_RETRY = Backoff(first_seconds=2, factor=4, ceiling_seconds=900, attempts=6)
"""For images that a user may be waiting for: six attempts within twelve minutes."""
BACKGROUND_RETRY = Backoff(first_seconds=30, factor=5, ceiling_seconds=4 * 3600, attempts=8)
"""For work that no user waits for: eight attempts within fourteen hours."""


type Cluster = Literal["single", "replicated", "serverless"]
"""One broker; three or more; Amazon MSK Serverless, which sets what concerns replicas itself and refuses it."""
MIN_IN_SYNC: Mapping[Cluster, dict[str, str]] = {
    "single": {"min.insync.replicas": "1"},
    "replicated": {"min.insync.replicas": "2"},
    "serverless": {},
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes
    ----------
    partitions : the ceiling of parallel batches per consumer; production raises it by a template parameter.
    retention : how long the broker keeps a record.
    producers, consumers : function folders; every topic has both.
    compression : what the broker stores; ``producer`` keeps the producer's lz4.
    retry : when a record with a retryable failure is tried again; None for never.
    """

    name: str
    contract: type[Event]
    producers: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    partitions: int = 3
    retention: timedelta = WEEK
    compression: Literal["producer", "lz4"] = "lz4"
    retry: Backoff | None = None

    def settings(self, cluster: Cluster = "single") -> dict[str, str]:
        """Settings that the brokers of such a cluster take."""
        return {
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "compression.type": self.compression,
            "cleanup.policy": "delete",
            **MIN_IN_SYNC[cluster],
        }

    @staticmethod
    def replication(cluster: Cluster = "single") -> int:
        return 1 if cluster == "single" else 3


def functions(names: str) -> tuple[str, ...]:
    return tuple(names.split(", "))


IMAGES_UPLOADED = Topic(
    "deeplens.images.uploaded",
    ImageUploaded,
    producers=functions(
        "search_api, on_image_uploaded, on_processing_completed, on_processing_failed, on_image_maintenance, "
        "on_object_created, on_schedule, on_whatsapp_message, on_video_uploaded"
    ),
    consumers=("on_image_uploaded",),
    retry=INTERACTIVE_RETRY,
)
VIDEOS_UPLOADED = Topic(
    "deeplens.videos.uploaded",
    VideoUploaded,
    producers=functions(
        "search_api, on_video_uploaded, on_object_created, on_image_maintenance, on_schedule, on_whatsapp_message"
    ),
    consumers=("on_video_uploaded",),
    retry=INTERACTIVE_RETRY,
)
FEATURES_EXTRACTION = Topic(
    "deeplens.features.extraction",
    FeatureExtractionRequested,
    producers=functions(
        "search_api, on_image_uploaded, on_indexing_requested, on_image_maintenance, on_duplicates_found"
    ),
    consumers=("on_extraction_requested",),
    retry=INTERACTIVE_RETRY,
)
VECTORS_INDEXING = Topic(
    "deeplens.vectors.indexing",
    VectorIndexingRequested,
    producers=("on_extraction_requested",),
    consumers=("on_indexing_requested",),
    retry=INTERACTIVE_RETRY,
)
PROCESSING_COMPLETED = Topic(
    "deeplens.processing.completed",
    ProcessingCompleted,
    producers=("on_indexing_requested",),
    consumers=("on_processing_completed", "on_image_indexed"),
    retry=BACKGROUND_RETRY,
    retention=MONTH,
)
PROCESSING_FAILED = Topic(
    "deeplens.processing.failed",
    ProcessingFailed,
    producers=functions(
        "on_image_uploaded, on_video_uploaded, on_extraction_requested, on_indexing_requested, "
        "on_processing_completed, on_image_indexed, on_duplicates_found, on_image_maintenance, on_object_created, "
        "on_retry_due, on_tenant_usage, on_tenant_notification, on_whatsapp_message"
    ),
    consumers=("on_processing_failed",),
    retention=MONTH,
)
PROCESSING_DEADLETTER = Topic(
    "deeplens.processing.deadletter",
    DeadLetter,
    producers=("on_processing_failed",),
    consumers=("on_dead_letter",),
    retention=MONTH,
)
IMAGES_MAINTENANCE = Topic(
    "deeplens.images.maintenance",
    ImageMaintenance,
    producers=functions(
        "search_api, admin_api, on_image_maintenance, on_duplicates_found, on_object_created, "
        "on_processing_completed, on_schedule, on_video_uploaded"
    ),
    consumers=("on_image_maintenance",),
    retry=BACKGROUND_RETRY,
)
DUPLICATES_FOUND = Topic(
    "deeplens.duplicates.found",
    DuplicatesFound,
    producers=("on_image_indexed", "on_image_maintenance"),
    consumers=("on_duplicates_found",),
    retry=BACKGROUND_RETRY,
)
TENANT_USAGE = Topic(
    "deeplens.tenant.usage",
    TenantUsage,
    producers=functions(
        "on_extraction_requested, on_processing_completed, on_processing_failed, on_image_maintenance, "
        "on_schedule, on_video_uploaded"
    ),
    consumers=("on_tenant_usage",),
    retry=BACKGROUND_RETRY,
    partitions=6,
    retention=QUARTER,
)
TENANT_NOTIFICATIONS = Topic(
    "deeplens.tenant.notifications",
    TenantNotification,
    producers=functions(
        "admin_api, on_processing_completed, on_processing_failed, on_duplicates_found, on_image_maintenance, "
        "on_schedule, on_video_uploaded, on_whatsapp_message"
    ),
    consumers=("on_tenant_notification",),
    retry=BACKGROUND_RETRY,
)
WHATSAPP_READY_MESSAGES = Topic(
    "whatsapp-ready-messages",
    WhatsAppMessage,
    producers=functions("whatsapp_webhook, on_whatsapp_message, on_tenant_notification, on_schedule"),
    consumers=("on_whatsapp_message",),
    retry=BACKGROUND_RETRY,
)
"""The one topic whose name an installation may choose, as ``KAFKA_TOPIC``; ``NAME_PREFIX`` precedes all."""

TOPICS = tuple(topic for topic in list(globals().values()) if isinstance(topic, Topic))
RETRIES = {topic.name: topic.retry for topic in TOPICS if topic.retry}
TOPIC_OF = {topic.contract: topic for topic in TOPICS}


def topic_of(event: Event) -> Topic:
    """The topic that an event belongs on: one contract, one topic."""
    return TOPIC_OF[type(event)]


def broker_topic_name(topic: str, whatsapp: str = "", prefix: str = "") -> str:
    """The topic's name on the broker.

    Parameters
    ----------
    whatsapp : the installation's own name of the topic of WhatsApp messages; empty for the registered one.
    prefix : what the names of this installation begin with.
    """
    return prefix + (whatsapp if whatsapp and topic == WHATSAPP_READY_MESSAGES.name else topic)
