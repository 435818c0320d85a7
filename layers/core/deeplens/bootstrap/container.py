"""Every adapter, built from the settings when it is first used."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, cast

from deeplens.bootstrap.database_adapters import DatabaseAdapters
from deeplens.common.resolve import Resolver, providers_of

if TYPE_CHECKING:
    from deeplens.access.bearer import BearerTokens, IdentityTokens
    from deeplens.alerts.model import AlertChannel
    from deeplens.common.ports import Clock, EventPublisher, SecretStore
    from deeplens.egress.rules import EgressRules
    from deeplens.embedding.ports import Embedder
    from deeplens.failures.model import RetryPolicies, RetryQueue
    from deeplens.identity.signing_keys import SigningKeys
    from deeplens.images.ports import PendingDue
    from deeplens.imaging.limits import Limits
    from deeplens.maintenance.model import SweepGrace, SweepInterval, ThumbnailRetention
    from deeplens.provisioning.lifecycle import TenantLifecycle
    from deeplens.provisioning.provision import Provisioning
    from deeplens.rollouts.model import BackfillWindow
    from deeplens.storage.ports import StoreResolver
    from deeplens.stores.model import MaxImageBytes, ScanWindow
    from deeplens.stores.opened import OpenStores
    from deeplens.tenants.limits import ResourceLimits
    from deeplens.uploads.model import ObjectQueue
    from deeplens.usage.model import StorageInterval
    from deeplens.vectors.ports import VectorIndex
    from deeplens.videos.decoding.limits import VideoLimits
    from deeplens.videos.model import PendingVideosDue
    from deeplens.webhooks.model import WebhookSender, WebhookSigner
    from deeplens.whatsapp.chats import ChatCollection
    from deeplens.whatsapp.delivery import WhatsApp
    from deeplens.whatsapp.secrets import WhatsAppSecrets


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Container(DatabaseAdapters, Resolver):
    """The adapters of this execution environment. Vendor packages are imported where a part is first needed."""

    @cached_property
    def clock(self) -> Clock:
        return SystemClock()

    @cached_property
    def workers(self) -> Executor:
        return ThreadPoolExecutor(self.settings.parallelism, thread_name_prefix="batch")

    @cached_property
    def pending_due(self) -> PendingDue:
        return cast("PendingDue", timedelta(seconds=self.settings.pending_due_seconds))

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
    def object_queue(self) -> ObjectQueue:
        from deeplens.uploads.queue import SqsObjectQueue

        def sqs() -> Any:
            from deeplens.aws.clients import client

            return client("sqs", self.settings)

        return SqsObjectQueue(sqs, self.settings.object_queue_url)

    @cached_property
    def pending_videos_due(self) -> PendingVideosDue:
        return cast("PendingVideosDue", timedelta(seconds=self.settings.pending_videos_due_seconds))

    @cached_property
    def video_limits(self) -> VideoLimits:
        from deeplens.videos.decoding.limits import VideoLimits

        own = self.settings
        return VideoLimits(own.max_video_bytes, own.max_video_seconds, segment_seconds=own.video_segment_seconds)

    @cached_property
    def sweep_grace(self) -> SweepGrace:
        return cast("SweepGrace", timedelta(seconds=self.settings.sweep_grace_seconds))

    @cached_property
    def thumbnails_kept(self) -> ThumbnailRetention | None:
        days = self.settings.thumbnails_kept_days
        return cast("ThumbnailRetention", timedelta(days=days)) if days else None

    @cached_property
    def sweep_every(self) -> SweepInterval:
        return cast("SweepInterval", timedelta(seconds=self.settings.sweep_every_seconds))

    @cached_property
    def measured_every(self) -> StorageInterval:
        return cast("StorageInterval", timedelta(seconds=self.settings.storage_measured_every_seconds))

    @cached_property
    def webhook_sender(self) -> WebhookSender:
        from deeplens.webhooks.sender import EgressWebhookSender

        return EgressWebhookSender(self.egress)

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
        return given.over(self._secret("", own.whatsapp_secret_arn))

    @cached_property
    def whatsapp(self) -> WhatsApp:
        from deeplens.whatsapp.graph import GraphApi

        return GraphApi(self.egress, self.settings.whatsapp_graph_url, lambda: self.whatsapp_secrets.access_token)

    @cached_property
    def chat_collection(self) -> ChatCollection:
        from deeplens.whatsapp.collection import CollectionOfChats

        return CollectionOfChats(self)

    @cached_property
    def backfill_window(self) -> BackfillWindow:
        return cast("BackfillWindow", self.settings.backfill_window)

    @cached_property
    def retries(self) -> RetryQueue:
        from deeplens.failures.queue import SqsRetryQueue

        def sqs() -> Any:
            # Slow to import, and few batches have anything to queue.
            from deeplens.aws.clients import client

            return client("sqs", self.settings)

        return SqsRetryQueue(sqs, self.settings.retry_queue_url)

    @cached_property
    def alert_channel(self) -> AlertChannel:
        from deeplens.alerts.sns import SnsAlertTopic

        def sns() -> Any:
            # Slow to import, and most minutes there is nothing to tell.
            from deeplens.aws.clients import client

            return client("sns", self.settings)

        return SnsAlertTopic(sns, self.settings.alert_topic_arn)

    @cached_property
    def retry_policies(self) -> RetryPolicies:
        from deeplens.events.topics import RETRIES

        return cast("RetryPolicies", RETRIES)

    @cached_property
    def rng(self) -> Random:
        return SystemRandom()

    @cached_property
    def signing_keys(self) -> SigningKeys:
        from deeplens.identity.postgres_keys import PostgresSigningKeys
        from deeplens.identity.signing_keys import SigningKeys

        return SigningKeys(PostgresSigningKeys(self.connections), self.secret_store, self.clock)

    @cached_property
    def secret_store(self) -> SecretStore:
        from deeplens.aws.clients import client
        from deeplens.aws.secrets import SecretsManager

        return SecretsManager(lambda: client("secretsmanager", self.settings))

    @cached_property
    def bearer_tokens(self) -> BearerTokens:
        """For the APIs: tokens that are meant for them. They may read the public keys, never make one."""
        from deeplens.access.bearer import BearerTokens, KeySet
        from deeplens.identity.postgres_keys import PostgresSigningKeys

        return BearerTokens(KeySet(PostgresSigningKeys(self.connections).jwks), self.settings.identity_url)

    @cached_property
    def own_tokens(self) -> IdentityTokens:
        """For the identity API itself: any access token that it issued."""
        from deeplens.access.bearer import API_AUDIENCE, BearerTokens, KeySet

        issuer = self.settings.identity_url
        tokens = BearerTokens(KeySet(self.signing_keys.jwks), issuer, audience=(API_AUDIENCE, issuer))
        return cast("IdentityTokens", tokens)

    @cached_property
    def lifecycle(self) -> TenantLifecycle:
        from deeplens.provisioning.lifecycle import TenantLifecycle

        return TenantLifecycle(self)

    @cached_property
    def stores(self) -> StoreResolver:
        from deeplens.stores.resolver import Stores

        return Stores(self.settings, self.open_stores)

    @cached_property
    def open_stores(self) -> OpenStores:
        from deeplens.stores.opened import OpenStores

        return OpenStores(self.settings, lambda: self.registered_stores, lambda: self.secret_store, self.egress)

    @cached_property
    def scan_window(self) -> ScanWindow:
        """Smaller than the tenant's own window, so that uploads find a place beside a scan."""
        return cast("ScanWindow", min(self.settings.scan_window, max(1, self.settings.tenant_window * 3 // 4)))

    @cached_property
    def max_image_bytes(self) -> MaxImageBytes:
        return cast("MaxImageBytes", self.settings.max_image_bytes)

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
    def publisher(self) -> EventPublisher:
        from deeplens.kafka.publisher import KafkaPublisher

        return KafkaPublisher(self.settings)

    @cached_property
    def provisioning(self) -> Provisioning:
        from deeplens.provisioning.provision import Provisioning

        return Provisioning(self.connections, self.stores, self.index, self.settings.qdrant_url)


ALSO_PROVIDED = {
    "ApiKeys": "api_keys",
    "Lifecycle": "lifecycle",
    "SigningKeyRing": "signing_keys",
    "TenantStores": "stores",
    "TokenGrants": "grants",
}
"""Ports that an adapter fulfils beside the one that its property names."""
Container.providers = {**providers_of(Container), **ALSO_PROVIDED}
