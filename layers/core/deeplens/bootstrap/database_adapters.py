"""What stands in PostgreSQL, each adapter built when it is first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.access.api_keys import PostgresApiKeys
    from deeplens.access.audit import PostgresAudit
    from deeplens.alerts.model import Alerts
    from deeplens.database.connections import Connections
    from deeplens.duplicates.model import Duplicates, MergeDeadlines
    from deeplens.failures.model import DeadLetters
    from deeplens.identity.postgres_accounts import PostgresAccounts
    from deeplens.identity.postgres_clients import PostgresClients
    from deeplens.identity.postgres_grants import PostgresGrants
    from deeplens.identity.postgres_users import PostgresUsers
    from deeplens.images.event_log import EventLog
    from deeplens.images.ports import ImageRepository, PendingImages
    from deeplens.maintenance.model import MaintenanceRuns
    from deeplens.rollouts.model import Rollouts, VectorStates
    from deeplens.stores.model import RegisteredStores, StoreObjects
    from deeplens.tenants.ports import TenantDirectory
    from deeplens.tenants.records import PostgresTenantRecords
    from deeplens.uploads.model import DirectUploads, StoreOwners
    from deeplens.usage.budgets import Budgets
    from deeplens.usage.model import RequestCounters, UsageMeter
    from deeplens.videos.model import PendingVideos, VideoRepository
    from deeplens.webhooks.model import Webhooks
    from deeplens.whatsapp.chats import Chats, Replies


class DatabaseAdapters:
    """The adapters on the platform database and on tenants' own."""

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
    def images(self) -> ImageRepository:
        from deeplens.images.postgres import PostgresImages

        return PostgresImages(self.connections)

    @cached_property
    def event_log(self) -> EventLog:
        from deeplens.images.postgres_event_log import PostgresEventLog

        return PostgresEventLog(self.connections)

    @cached_property
    def vector_states(self) -> VectorStates:
        from deeplens.rollouts.postgres_states import PostgresVectorStates

        return PostgresVectorStates(self.connections)

    @cached_property
    def duplicates(self) -> Duplicates:
        from deeplens.duplicates.postgres import PostgresDuplicates

        return PostgresDuplicates(self.connections)

    @cached_property
    def merge_deadlines(self) -> MergeDeadlines:
        from deeplens.duplicates.postgres import PostgresMergeDeadlines

        return PostgresMergeDeadlines(self.connections)

    @cached_property
    def rollouts(self) -> Rollouts:
        from deeplens.rollouts.postgres import PostgresRollouts

        return PostgresRollouts(self.connections)

    @cached_property
    def maintenance_runs(self) -> MaintenanceRuns:
        from deeplens.maintenance.postgres import PostgresMaintenanceRuns

        return PostgresMaintenanceRuns(self.connections)

    @cached_property
    def registered_stores(self) -> RegisteredStores:
        from deeplens.stores.postgres import PostgresRegisteredStores

        return PostgresRegisteredStores(self.connections)

    @cached_property
    def store_objects(self) -> StoreObjects:
        from deeplens.stores.postgres_objects import PostgresStoreObjects

        return PostgresStoreObjects(self.connections)

    @cached_property
    def uploads(self) -> DirectUploads:
        from deeplens.uploads.postgres import PostgresDirectUploads

        return PostgresDirectUploads(self.connections)

    @cached_property
    def store_owners(self) -> StoreOwners:
        from deeplens.uploads.postgres import PostgresDirectUploads

        return PostgresDirectUploads(self.connections)

    @cached_property
    def webhooks(self) -> Webhooks:
        from deeplens.webhooks.postgres import PostgresWebhooks

        return PostgresWebhooks(self.connections)

    @cached_property
    def chats(self) -> Chats:
        from deeplens.whatsapp.postgres import PostgresChats

        return PostgresChats(self.connections)

    @cached_property
    def replies(self) -> Replies:
        from deeplens.whatsapp.postgres_replies import PostgresReplies

        return PostgresReplies(self.connections)

    @cached_property
    def pending(self) -> PendingImages:
        from deeplens.images.postgres_pending import PostgresPending

        own = self.settings
        return PostgresPending(self.connections, own.tenant_window, own.tenant_window_shared, own.frames_window)

    @cached_property
    def videos(self) -> VideoRepository:
        from deeplens.videos.postgres import PostgresVideos

        return PostgresVideos(self.connections)

    @cached_property
    def pending_videos(self) -> PendingVideos:
        from deeplens.videos.postgres_pending import PostgresPendingVideos

        return PostgresPendingVideos(self.connections)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        from deeplens.failures.postgres import PostgresDeadLetters

        return PostgresDeadLetters(self.connections)

    @cached_property
    def alerts(self) -> Alerts:
        from deeplens.alerts.postgres import PostgresAlerts

        return PostgresAlerts(self.connections)

    @cached_property
    def usage(self) -> UsageMeter:
        from deeplens.usage.postgres import PostgresUsage

        return PostgresUsage(self.connections)

    @cached_property
    def budgets(self) -> Budgets:
        from deeplens.usage.postgres_budgets import PostgresBudgets

        return PostgresBudgets(self.connections)

    @cached_property
    def request_counters(self) -> RequestCounters:
        from deeplens.usage.postgres_counters import PostgresRequestCounters

        return PostgresRequestCounters(self.connections)

    @cached_property
    def api_keys(self) -> PostgresApiKeys:
        from deeplens.access.api_keys import PostgresApiKeys

        return PostgresApiKeys(self.connections)

    @cached_property
    def clients(self) -> PostgresClients:
        from deeplens.identity.postgres_clients import PostgresClients

        return PostgresClients(self.connections)

    @cached_property
    def users(self) -> PostgresUsers:
        from deeplens.identity.postgres_users import PostgresUsers

        return PostgresUsers(self.connections)

    @cached_property
    def grants(self) -> PostgresGrants:
        from deeplens.identity.postgres_grants import PostgresGrants

        return PostgresGrants(self.connections)

    @cached_property
    def accounts(self) -> PostgresAccounts:
        from deeplens.identity.postgres_accounts import PostgresAccounts

        return PostgresAccounts(self.connections)

    @cached_property
    def audit(self) -> PostgresAudit:
        from deeplens.access.audit import PostgresAudit

        return PostgresAudit(self.connections)

    @cached_property
    def tenant_records(self) -> PostgresTenantRecords:
        from deeplens.tenants.records import PostgresTenantRecords

        return PostgresTenantRecords(self.connections)

    def _secret(self, value: str, arn: str) -> str:
        """A value from the environment, or from the secret that a deployment names."""
        if value or not arn:
            return value
        from deeplens.aws.clients import client

        return str(client("secretsmanager", self.settings).get_secret_value(SecretId=arn)["SecretString"])
