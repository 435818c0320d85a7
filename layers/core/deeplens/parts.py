"""Every adapter, built from the settings when it is first used."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.auth.api_keys import PostgresApiKeys
    from deeplens.auth.bearer import BearerTokens
    from deeplens.auth.ports import SecretStore
    from deeplens.auth.signing_keys import SigningKeys
    from deeplens.db.audit import PostgresAudit
    from deeplens.db.connections import Connections
    from deeplens.db.identity.accounts import PostgresAccounts
    from deeplens.db.identity.clients import PostgresClients
    from deeplens.db.identity.grants import PostgresGrants
    from deeplens.db.identity.users import PostgresUsers
    from deeplens.db.tenant_records import PostgresTenantRecords
    from deeplens.egress.rules import EgressRules
    from deeplens.imaging.limits import Limits
    from deeplens.lifecycle import TenantLifecycle
    from deeplens.ports import (
        Clock,
        DeadLetters,
        Embedder,
        EventPublisher,
        ImageRepository,
        MaintenanceRuns,
        PendingImages,
        RequestCounters,
        Rollouts,
        StoreResolver,
        TenantDirectory,
        UsageMeter,
        VectorIndex,
        VectorStates,
    )
    from deeplens.tenants import Provisioning
    from deeplens.webhooks import Webhooks, WebhookSender, WebhookSigner


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Parts:
    """The adapters of this execution environment. Vendor packages are imported where a part is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

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
    def connections(self) -> Connections:
        from deeplens.db.connections import Connections

        own = self.settings
        return Connections(
            self._secret(own.database_url, own.database_secret_arn),
            own.tenant_connections,
            tenant_key=self._secret(own.tenant_database_key, own.tenant_database_key_secret_arn),
        )

    @cached_property
    def tenants(self) -> TenantDirectory:
        from deeplens.db.directory import PostgresDirectory

        return PostgresDirectory(self.connections, self.settings.qdrant_url)

    @cached_property
    def images(self) -> ImageRepository:
        from deeplens.db.images import PostgresImages

        return PostgresImages(self.connections)

    @cached_property
    def vector_states(self) -> VectorStates:
        from deeplens.db.vector_states import PostgresVectorStates

        return PostgresVectorStates(self.connections)

    @cached_property
    def rollouts(self) -> Rollouts:
        from deeplens.db.rollouts import PostgresRollouts

        return PostgresRollouts(self.connections)

    @cached_property
    def maintenance_runs(self) -> MaintenanceRuns:
        from deeplens.db.maintenance import PostgresMaintenanceRuns

        return PostgresMaintenanceRuns(self.connections)

    @cached_property
    def sweep_grace(self) -> timedelta:
        return timedelta(seconds=self.settings.sweep_grace_seconds)

    @cached_property
    def sweep_every(self) -> timedelta:
        return timedelta(seconds=self.settings.sweep_every_seconds)

    @cached_property
    def webhooks(self) -> Webhooks:
        from deeplens.db.webhooks import PostgresWebhooks

        return PostgresWebhooks(self.connections)

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
    def backfill_window(self) -> int:
        return self.settings.backfill_window

    @cached_property
    def pending(self) -> PendingImages:
        from deeplens.db.pending import PostgresPending

        return PostgresPending(self.connections, self.settings.tenant_window, self.settings.tenant_window_shared)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        from deeplens.db.dead_letters import PostgresDeadLetters

        return PostgresDeadLetters(self.connections)

    @cached_property
    def usage(self) -> UsageMeter:
        from deeplens.db.usage import PostgresUsage

        return PostgresUsage(self.connections)

    @cached_property
    def request_counters(self) -> RequestCounters:
        from deeplens.db.usage import PostgresRequestCounters

        return PostgresRequestCounters(self.connections)

    @cached_property
    def api_keys(self) -> PostgresApiKeys:
        from deeplens.auth.api_keys import PostgresApiKeys

        return PostgresApiKeys(self.connections)

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
    def clients(self) -> PostgresClients:
        from deeplens.db.identity.clients import PostgresClients

        return PostgresClients(self.connections)

    @cached_property
    def users(self) -> PostgresUsers:
        from deeplens.db.identity.users import PostgresUsers

        return PostgresUsers(self.connections)

    @cached_property
    def grants(self) -> PostgresGrants:
        from deeplens.db.identity.grants import PostgresGrants

        return PostgresGrants(self.connections)

    @cached_property
    def accounts(self) -> PostgresAccounts:
        from deeplens.db.identity.accounts import PostgresAccounts

        return PostgresAccounts(self.connections)

    @cached_property
    def audit(self) -> PostgresAudit:
        from deeplens.db.audit import PostgresAudit

        return PostgresAudit(self.connections)

    @cached_property
    def tenant_records(self) -> PostgresTenantRecords:
        from deeplens.db.tenant_records import PostgresTenantRecords

        return PostgresTenantRecords(self.connections)

    @cached_property
    def lifecycle(self) -> TenantLifecycle:
        from deeplens.lifecycle import TenantLifecycle

        return TenantLifecycle(self)

    @cached_property
    def stores(self) -> StoreResolver:
        from deeplens.storage.resolver import Stores

        return Stores(self.settings)

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

    def _secret(self, value: str, arn: str) -> str:
        """A value from the environment, or from the secret that a deployment names."""
        if value or not arn:
            return value
        from deeplens.aws import client

        return str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])

    def build[T](self, cls: Callable[..., T]) -> T:
        """An instance of ``cls``, its constructor's parameters taken from the parts of the same names."""
        return cls(**{name: getattr(self, name) for name in inspect.signature(cls).parameters})
