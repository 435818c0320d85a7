"""The adapters on PostgreSQL, each built when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from deeplens.common.resolve import Resolver
from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.access.ports import ApiKeys, AuditLog
    from deeplens.alerts.model import Alerts
    from deeplens.database.connections import Connections
    from deeplens.duplicates.model import Duplicates, MergeDeadlines
    from deeplens.failures.model import DeadLetters
    from deeplens.identity.ports import Clients, Grants, StoredKeys, Users
    from deeplens.images.ports import EventLog, ImageRepository, PendingImages
    from deeplens.maintenance.model import MaintenanceRuns
    from deeplens.rollouts.model import Rollouts, VectorStates
    from deeplens.stores.model import RegisteredStores, StoreObjects
    from deeplens.tenants.ports import TenantDirectory, TenantRecords
    from deeplens.uploads.model import DirectUploads, StoreOwners
    from deeplens.usage.budgets import Budgets
    from deeplens.usage.model import RequestMinutes, UsageMeter
    from deeplens.videos.model import PendingVideos, VideoRepository
    from deeplens.webhooks.model import Webhooks
    from deeplens.whatsapp.chats import Chats, Replies


def adapter(path: str) -> Any:
    """Return a property: the class at ``path``, imported and built from the types of its parameters at first use."""
    return cached_property(partial(_build, path))


def _build(path: str, container: Resolver) -> Any:
    return container.build(resolve_name(path))


def value(read: Callable[[Settings], Any]) -> Any:
    """Return a property that is read from the settings."""
    return cached_property(lambda container: read(container.settings))


class DatabaseAdapters(Resolver):
    """The adapters on the platform database and on tenants' own."""

    images: ImageRepository = adapter("deeplens.images.postgres:PostgresImages")
    event_log: EventLog = adapter("deeplens.images.postgres_event_log:PostgresEventLog")
    vector_states: VectorStates = adapter("deeplens.rollouts.postgres_states:PostgresVectorStates")
    duplicates: Duplicates = adapter("deeplens.duplicates.postgres:PostgresDuplicates")
    merge_deadlines: MergeDeadlines = adapter("deeplens.duplicates.postgres:PostgresMergeDeadlines")
    rollouts: Rollouts = adapter("deeplens.rollouts.postgres:PostgresRollouts")
    maintenance_runs: MaintenanceRuns = adapter("deeplens.maintenance.postgres:PostgresMaintenanceRuns")
    registered_stores: RegisteredStores = adapter("deeplens.stores.postgres:PostgresRegisteredStores")
    store_objects: StoreObjects = adapter("deeplens.stores.postgres:PostgresStoreObjects")
    uploads: DirectUploads = adapter("deeplens.uploads.postgres:PostgresDirectUploads")
    store_owners: StoreOwners = adapter("deeplens.uploads.postgres:PostgresDirectUploads")
    webhooks: Webhooks = adapter("deeplens.webhooks.postgres:PostgresWebhooks")
    chats: Chats = adapter("deeplens.whatsapp.postgres:PostgresChats")
    replies: Replies = adapter("deeplens.whatsapp.postgres:PostgresReplies")
    videos: VideoRepository = adapter("deeplens.videos.postgres:PostgresVideos")
    pending_videos: PendingVideos = adapter("deeplens.videos.postgres_pending:PostgresPendingVideos")
    dead_letters: DeadLetters = adapter("deeplens.failures.postgres:PostgresDeadLetters")
    alerts: Alerts = adapter("deeplens.alerts.postgres:PostgresAlerts")
    usage: UsageMeter = adapter("deeplens.usage.postgres:PostgresUsage")
    budgets: Budgets = adapter("deeplens.usage.postgres_budgets:PostgresBudgets")
    request_counters: RequestMinutes = adapter("deeplens.usage.postgres:PostgresRequestCounters")
    api_keys: ApiKeys = adapter("deeplens.access.postgres_keys:PostgresApiKeys")
    clients: Clients = adapter("deeplens.identity.postgres_clients:PostgresClients")
    users: Users = adapter("deeplens.identity.postgres_users:PostgresUsers")
    grants: Grants = adapter("deeplens.identity.postgres_grants:PostgresGrants")
    stored_keys: StoredKeys = adapter("deeplens.identity.postgres_keys:PostgresSigningKeys")
    audit: AuditLog = adapter("deeplens.access.postgres_audit:PostgresAudit")
    tenant_records: TenantRecords = adapter("deeplens.tenants.postgres:PostgresTenantRecords")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def connections(self) -> Connections:
        from deeplens.database.connections import Connections

        own = self.settings
        return Connections(
            self._secret(own.database_url, own.database_secret_arn),
            own.tenant_connections,
            tenant_key=self._secret(own.tenant_database_key, own.tenant_database_key_secret_arn),
        )

    @cached_property
    def tenants(self) -> TenantDirectory:
        from deeplens.tenants.directory import PostgresDirectory

        return PostgresDirectory(self.connections, self.settings.qdrant_url)

    @cached_property
    def pending(self) -> PendingImages:
        from deeplens.images.postgres_pending import PostgresPending

        own = self.settings
        return PostgresPending(self.connections, own.tenant_window, own.tenant_window_shared, own.frames_window)

    def _secret(self, value: str, arn: str) -> str:
        """A value from the environment, or from the secret that a deployment names."""
        if value or not arn:
            return value
        from deeplens.aws.clients import client

        return str(client("secretsmanager", self.settings).get_secret_value(SecretId=arn)["SecretString"])
