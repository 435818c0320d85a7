"""Every adapter, built from the settings when it is first used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from deeplens.database_parts import DatabaseParts

if TYPE_CHECKING:
    from deeplens.auth.bearer import BearerTokens
    from deeplens.auth.ports import SecretStore
    from deeplens.auth.signing_keys import SigningKeys
    from deeplens.egress.rules import EgressRules
    from deeplens.imaging.limits import Limits
    from deeplens.lifecycle import TenantLifecycle
    from deeplens.limits import ResourceLimits
    from deeplens.pipeline.observe_objects import ObserveObjects
    from deeplens.pipeline.paged_works import PagedWorks
    from deeplens.ports import (
        AlertChannel,
        Clock,
        Embedder,
        EventPublisher,
        ObjectQueue,
        RetryQueue,
        StoreResolver,
        VectorIndex,
    )
    from deeplens.retries import Backoff
    from deeplens.storage.registered import OpenStores
    from deeplens.tenants import Provisioning
    from deeplens.video.limits import VideoLimits
    from deeplens.webhooks import WebhookSender, WebhookSigner
    from deeplens.whatsapp.chats import ChatCollection
    from deeplens.whatsapp.delivery import WhatsApp
    from deeplens.whatsapp.secrets import WhatsAppSecrets


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Parts(DatabaseParts):
    """The adapters of this execution environment. Vendor packages are imported where a part is first needed."""

    @cached_property
    def clock(self) -> Clock:
        return SystemClock()

    @cached_property
    def workers(self) -> Executor:
        return ThreadPoolExecutor(self.settings.parallelism, thread_name_prefix="batch")

    @cached_property
    def pending_due(self) -> timedelta:
        return timedelta(seconds=self.settings.pending_due_seconds)

    @cached_property
    def limits(self) -> Limits:
        from deeplens.imaging.limits import Limits

        own = self.settings
        return Limits(own.max_image_bytes, own.max_image_pixels, own.max_image_frames)

    @cached_property
    def default_limits(self) -> ResourceLimits:
        return self.settings.default_limits

    @cached_property
    def object_queue(self) -> ObjectQueue:
        from deeplens.sqs.object_queue import SqsObjectQueue

        def sqs() -> Any:
            from deeplens.aws import client

            return client("sqs")

        return SqsObjectQueue(sqs, self.settings.object_queue_url)

    @cached_property
    def pending_videos_due(self) -> timedelta:
        return timedelta(seconds=self.settings.pending_videos_due_seconds)

    @cached_property
    def video_limits(self) -> VideoLimits:
        from deeplens.video.limits import VideoLimits

        own = self.settings
        return VideoLimits(own.max_video_bytes, own.max_video_seconds, segment_seconds=own.video_segment_seconds)

    @cached_property
    def sweep_grace(self) -> timedelta:
        return timedelta(seconds=self.settings.sweep_grace_seconds)

    @cached_property
    def thumbnails_kept(self) -> timedelta | None:
        days = self.settings.thumbnails_kept_days
        return timedelta(days=days) if days else None

    @cached_property
    def sweep_every(self) -> timedelta:
        return timedelta(seconds=self.settings.sweep_every_seconds)

    @cached_property
    def measured_every(self) -> timedelta:
        return timedelta(seconds=self.settings.storage_measured_every_seconds)

    @cached_property
    def webhook_sender(self) -> WebhookSender:
        from deeplens.egress.webhooks import EgressWebhookSender

        return EgressWebhookSender(self.egress)

    @cached_property
    def webhook_signer(self) -> WebhookSigner:
        from deeplens.webhooks import WebhookSigner

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
        from deeplens.egress.graph import GraphApi

        return GraphApi(self.egress, self.settings.whatsapp_graph_url, lambda: self.whatsapp_secrets.access_token)

    @cached_property
    def chat_collection(self) -> ChatCollection:
        from deeplens.api.chat_collection import CollectionOfChats

        return CollectionOfChats(self)

    @cached_property
    def backfill_window(self) -> int:
        return self.settings.backfill_window

    @cached_property
    def retries(self) -> RetryQueue:
        from deeplens.sqs.retry_queue import SqsRetryQueue

        def sqs() -> Any:
            # Slow to import, and few batches have anything to queue.
            from deeplens.aws import client

            return client("sqs")

        return SqsRetryQueue(sqs, self.settings.retry_queue_url)

    @cached_property
    def alert_channel(self) -> AlertChannel:
        from deeplens.sns.alert_topic import SnsAlertTopic

        def sns() -> Any:
            # Slow to import, and most minutes there is nothing to tell.
            from deeplens.aws import client

            return client("sns")

        return SnsAlertTopic(sns, self.settings.alert_topic_arn)

    @cached_property
    def retry_policies(self) -> Mapping[str, Backoff]:
        from deeplens.topics import RETRIES

        return RETRIES

    @cached_property
    def rng(self) -> Random:
        return SystemRandom()

    @cached_property
    def signing_keys(self) -> SigningKeys:
        from deeplens.auth.signing_keys import SigningKeys
        from deeplens.db.signing_keys import PostgresSigningKeys

        return SigningKeys(PostgresSigningKeys(self.connections), self.secret_store, self.clock)

    @cached_property
    def secret_store(self) -> SecretStore:
        from deeplens.aws import client
        from deeplens.secret_store import SecretsManager

        return SecretsManager(lambda: client("secretsmanager"))

    @cached_property
    def bearer_tokens(self) -> BearerTokens:
        """For the APIs: tokens that are meant for them. They may read the public keys, never make one."""
        from deeplens.auth.bearer import BearerTokens, KeySet
        from deeplens.db.signing_keys import PostgresSigningKeys

        return BearerTokens(KeySet(PostgresSigningKeys(self.connections).jwks), self.settings.identity_url)

    @cached_property
    def own_tokens(self) -> BearerTokens:
        """For the identity API itself: any access token that it issued."""
        from deeplens.auth.bearer import API_AUDIENCE, BearerTokens, KeySet

        issuer = self.settings.identity_url
        return BearerTokens(KeySet(self.signing_keys.jwks), issuer, audience=(API_AUDIENCE, issuer))

    @cached_property
    def lifecycle(self) -> TenantLifecycle:
        from deeplens.lifecycle import TenantLifecycle

        return TenantLifecycle(self)

    @cached_property
    def stores(self) -> StoreResolver:
        from deeplens.storage.resolver import Stores

        return Stores(self.settings, self.open_stores)

    @cached_property
    def open_stores(self) -> OpenStores:
        from deeplens.storage.registered import OpenStores

        return OpenStores(self.settings, lambda: self.registered_stores, lambda: self.secret_store, self.egress)

    @cached_property
    def scan_window(self) -> int:
        """Smaller than the tenant's own window, so that uploads find a place beside a scan."""
        return min(self.settings.scan_window, max(1, self.settings.tenant_window * 3 // 4))

    @cached_property
    def observe_objects(self) -> ObserveObjects:
        from deeplens.pipeline.observe_objects import ObserveObjects

        return self.build(ObserveObjects)

    @cached_property
    def paged_works(self) -> PagedWorks:
        from deeplens.pipeline.paged_works import PagedWorks

        return self.build(PagedWorks)

    @cached_property
    def max_image_bytes(self) -> int:
        return self.settings.max_image_bytes

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
            from deeplens.inference.open_inference import OpenInferenceEmbedder

            return OpenInferenceEmbedder(own)
        from deeplens.inference.sagemaker import SageMakerEmbedder

        return SageMakerEmbedder(own)

    @cached_property
    def publisher(self) -> EventPublisher:
        from deeplens.kafka.publisher import KafkaPublisher

        return KafkaPublisher(self.settings)

    @cached_property
    def provisioning(self) -> Provisioning:
        from deeplens.tenants import Provisioning

        return Provisioning(self.connections, self.stores, self.index, self.settings.qdrant_url)

    def build[T](self, cls: Callable[..., T]) -> T:
        """An instance of ``cls``, its constructor's parameters taken from the parts of the same names."""
        return cls(**{name: getattr(self, name) for name in inspect.signature(cls).parameters})
