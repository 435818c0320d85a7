"""Every adapter, built from the settings when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, cast

from deeplens.bootstrap.database_adapters import DatabaseAdapters, adapter, value
from deeplens.bootstrap.maintenance import MaintenanceRegistry
from deeplens.common.resolve import providers_of
from deeplens.events.topics import RETRIES

if TYPE_CHECKING:
    from deeplens.access.bearer import BearerTokens, IdentityTokens
    from deeplens.alerts.model import AlertChannel
    from deeplens.bootstrap.platform_routes import HealthChecks
    from deeplens.common.ports import Clock, EventPublisher, SecretStore
    from deeplens.egress.rules import EgressRules
    from deeplens.embedding.ports import Embedder
    from deeplens.failures.model import RetryPolicies, RetryQueue
    from deeplens.identity.model import Environment, Issuer
    from deeplens.identity.signing_keys import SigningKeys
    from deeplens.images.ports import PendingDue
    from deeplens.imaging.limits import Limits
    from deeplens.maintenance.model import SweepGrace, SweepInterval, ThumbnailRetention
    from deeplens.provisioning.create import DefaultStorage
    from deeplens.provisioning.provision import Provisioning
    from deeplens.rollouts.model import BackfillWindow
    from deeplens.storage.ports import StoreResolver
    from deeplens.stores.model import MaxImageBytes, ScanWindow, StorePlatform
    from deeplens.stores.opened import OpenStores
    from deeplens.tenants.limits import MaxUploadBytes, ResourceLimits
    from deeplens.uploads.model import ObjectQueue
    from deeplens.usage.model import StorageInterval
    from deeplens.vectors.ports import VectorIndex
    from deeplens.videos.decoding.limits import VideoLimits
    from deeplens.videos.model import PendingVideosDue
    from deeplens.webhooks.model import WebhookSender, WebhookSigner
    from deeplens.whatsapp.chats import WhatsApp
    from deeplens.whatsapp.collection import ChatCollection, MaxMediaBytes
    from deeplens.whatsapp.secrets import WhatsAppSecrets


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Container(DatabaseAdapters, MaintenanceRegistry):
    """The adapters of this execution environment. Vendor packages are imported when an adapter is first used."""

    pending_due: PendingDue = value(lambda own: timedelta(seconds=own.pending_due_seconds))
    max_upload_bytes: MaxUploadBytes = value(lambda own: own.max_upload_bytes)
    pending_videos_due: PendingVideosDue = value(lambda own: timedelta(seconds=own.pending_videos_due_seconds))
    sweep_grace: SweepGrace = value(lambda own: timedelta(seconds=own.sweep_grace_seconds))
    sweep_every: SweepInterval = value(lambda own: timedelta(seconds=own.sweep_every_seconds))
    measured_every: StorageInterval = value(lambda own: timedelta(seconds=own.storage_measured_every_seconds))
    backfill_window: BackfillWindow = value(lambda own: own.backfill_window)
    max_image_bytes: MaxImageBytes = value(lambda own: own.max_image_bytes)
    thumbnails_kept: ThumbnailRetention | None = value(
        lambda own: timedelta(days=own.thumbnails_kept_days) if own.thumbnails_kept_days else None
    )
    # Smaller than the tenant's own window, so that uploads find room beside a scan.
    scan_window: ScanWindow = value(lambda own: min(own.scan_window, max(1, own.tenant_window * 3 // 4)))
    issuer: Issuer = value(lambda own: own.identity_url)
    environment: Environment = value(lambda own: own.environment)
    default_storage: DefaultStorage = value(lambda own: own.default_storage)
    retry_policies: RetryPolicies = value(lambda _: RETRIES)
    clock: Clock = value(lambda _: SystemClock())
    rng: Random = value(lambda _: SystemRandom())
    publisher: EventPublisher = adapter("deeplens.kafka.publisher:KafkaPublisher")
    signing_keys: SigningKeys = adapter("deeplens.identity.signing_keys:SigningKeys")
    chat_collection: ChatCollection = adapter("deeplens.whatsapp.collection:ChatCollection")
    max_media_bytes: MaxMediaBytes = value(lambda own: own.whatsapp_max_media_bytes)
    stores: StoreResolver = adapter("deeplens.stores.resolver:Stores")
    webhook_sender: WebhookSender = adapter("deeplens.webhooks.sender:EgressWebhookSender")

    def _client(self, service: str) -> Callable[[], Any]:
        """Return what makes a client of AWS: boto3 is slow to import, and most invocations need none."""

        def make() -> Any:
            from deeplens.aws.clients import client

            return client(service, self.settings)

        return make

    @cached_property
    def object_queue(self) -> ObjectQueue:
        from deeplens.uploads.queue import SqsObjectQueue

        return SqsObjectQueue(self._client("sqs"), self.settings.object_queue_url)

    @cached_property
    def retries(self) -> RetryQueue:
        from deeplens.failures.queue import SqsRetryQueue

        return SqsRetryQueue(self._client("sqs"), self.settings.retry_queue_url)

    @cached_property
    def alert_channel(self) -> AlertChannel:
        from deeplens.alerts.sns import SnsAlertTopic

        return SnsAlertTopic(self._client("sns"), self.settings.alert_topic_arn)

    @cached_property
    def secret_store(self) -> SecretStore:
        from deeplens.aws.secrets import SecretsManager

        return SecretsManager(self._client("secretsmanager"))

    @cached_property
    def workers(self) -> Executor:
        return ThreadPoolExecutor(self.settings.parallelism, thread_name_prefix="batch")

    @cached_property
    def limits(self) -> Limits:
        from deeplens.imaging.limits import Limits

        own = self.settings
        return Limits(own.max_image_bytes, own.max_image_pixels, own.max_image_frames)

    @cached_property
    def default_limits(self) -> ResourceLimits:
        """Of tenants that have none of their own."""
        from deeplens.tenants.limits import ResourceLimits

        own = self.settings
        return ResourceLimits(
            own.default_max_images,
            own.default_max_bytes,
            own.default_requests_per_minute,
            own.default_max_file_bytes,
        )

    @cached_property
    def video_limits(self) -> VideoLimits:
        from deeplens.videos.decoding.limits import VideoLimits

        own = self.settings
        return VideoLimits(own.max_video_bytes, own.max_video_seconds, segment_seconds=own.video_segment_seconds)

    @cached_property
    def webhook_signer(self) -> WebhookSigner:
        from deeplens.webhooks.model import WebhookSigner

        own = self.settings
        return WebhookSigner(lambda: self._secret(own.webhook_key, own.webhook_key_secret_arn))

    @cached_property
    def whatsapp_secrets(self) -> WhatsAppSecrets:
        from deeplens.whatsapp.secrets import WhatsAppSecrets

        own = self.settings
        given = WhatsAppSecrets(own.whatsapp_app_secret, own.whatsapp_verify_token, own.whatsapp_access_token)
        return given.with_defaults(self._secret("", own.whatsapp_secret_arn))

    @cached_property
    def whatsapp(self) -> WhatsApp:
        from deeplens.whatsapp.graph import GraphApi

        return GraphApi(self.egress, self.settings.whatsapp_graph_url, lambda: self.whatsapp_secrets.access_token)

    @cached_property
    def bearer_tokens(self) -> BearerTokens:
        """For the APIs: tokens that are meant for them. They may read the public keys, never make one."""
        from deeplens.access.bearer import BearerTokens, KeySet

        return BearerTokens(KeySet(self.stored_keys.jwks), self.issuer)

    @cached_property
    def own_tokens(self) -> IdentityTokens:
        """For the identity API itself: any access token that it issued."""
        from deeplens.access.bearer import API_AUDIENCE, BearerTokens, KeySet

        audience = (API_AUDIENCE, self.issuer)
        tokens = BearerTokens(KeySet(self.signing_keys.jwks), self.issuer, audience)
        return cast("IdentityTokens", tokens)

    @cached_property
    def open_stores(self) -> OpenStores:
        from deeplens.stores.opened import OpenStores

        return OpenStores(self.settings, lambda: self.registered_stores, lambda: self.secret_store, self.egress)

    @cached_property
    def store_platform(self) -> StorePlatform:
        from deeplens.stores.model import StorePlatform

        own = self.settings
        role = own.tenant_storage_role_arn.split(":")
        account = role[4] if len(role) > 4 else ""
        endpoints = tuple(filter(None, (own.s3_endpoint_url, own.aws_endpoint_url)))
        return StorePlatform(account, own.object_queue_arn, own.public_url or own.identity_url, endpoints)

    @cached_property
    def egress(self) -> EgressRules:
        from deeplens.egress.rules import EgressRules

        networks = self.settings.egress_allowed_networks.split(",")
        return EgressRules.of(filter(None, map(str.strip, networks)), http=self.settings.egress_http)

    @cached_property
    def index(self) -> VectorIndex:
        from deeplens.vectors.qdrant import QdrantIndex

        return QdrantIndex(self.settings.qdrant_api_key)

    @cached_property
    def embedder(self) -> Embedder:
        own = self.settings
        if own.inference_url:
            from deeplens.embedding.open_inference import OpenInferenceEmbedder

            return OpenInferenceEmbedder(own)
        from deeplens.embedding.sagemaker import SageMakerEmbedder

        return SageMakerEmbedder(own)

    @cached_property
    def health_checks(self) -> HealthChecks:
        from deeplens.bootstrap.platform_routes import HealthChecks
        from deeplens.embedding.built_in import BUILT_IN_MODEL

        checks: dict[str, Callable[[], object]] = {
            "database": lambda: self.tenant_records.page("", None, 1),
            "index": lambda: self.index.ping(self.settings.qdrant_url),
            "broker": lambda: self.publisher.ping(),
            "inference": lambda: self.embedder.describe(BUILT_IN_MODEL.name, BUILT_IN_MODEL.version),
        }
        return HealthChecks(checks)

    @cached_property
    def provisioning(self) -> Provisioning:
        from deeplens.provisioning.provision import Provisioning

        return Provisioning(self.connections, self.stores, self.index, self.settings.qdrant_url)


ALSO_PROVIDED = {
    "AccessTokens": "bearer_tokens",
    "RequestCounters": "request_counters",
    "Settings": "settings",
    "TenantStores": "stores",
}
"""Ports that an adapter fulfils beside the one that its property names."""
Container.providers = {**providers_of(Container), **ALSO_PROVIDED}
