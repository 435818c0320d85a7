"""What stands in PostgreSQL, each adapter built when it is first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.auth.api_keys import PostgresApiKeys
    from deeplens.budgets import Budgets
    from deeplens.db.audit import PostgresAudit
    from deeplens.db.connections import Connections
    from deeplens.db.identity.accounts import PostgresAccounts
    from deeplens.db.identity.clients import PostgresClients
    from deeplens.db.identity.grants import PostgresGrants
    from deeplens.db.identity.users import PostgresUsers
    from deeplens.db.tenant_records import PostgresTenantRecords
    from deeplens.event_log import EventLog
    from deeplens.ports import (
        Alerts,
        DeadLetters,
        DirectUploads,
        Duplicates,
        ImageRepository,
        MaintenanceRuns,
        MergeDeadlines,
        PendingImages,
        RegisteredStores,
        RequestCounters,
        Rollouts,
        StoreObjects,
        StoreOwners,
        TenantDirectory,
        UsageMeter,
        VectorStates,
    )
    from deeplens.videos import PendingVideos, VideoRepository
    from deeplens.webhooks import Webhooks
    from deeplens.whatsapp.chats import Chats, Replies


class DatabaseParts:
    """The adapters on the platform database and on tenants' own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

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
    def event_log(self) -> EventLog:
        from deeplens.db.event_log import PostgresEventLog

        return PostgresEventLog(self.connections)

    @cached_property
    def vector_states(self) -> VectorStates:
        from deeplens.db.vector_states import PostgresVectorStates

        return PostgresVectorStates(self.connections)

    @cached_property
    def duplicates(self) -> Duplicates:
        from deeplens.db.duplicates import PostgresDuplicates

        return PostgresDuplicates(self.connections)

    @cached_property
    def merge_deadlines(self) -> MergeDeadlines:
        from deeplens.db.duplicates import PostgresMergeDeadlines

        return PostgresMergeDeadlines(self.connections)

    @cached_property
    def rollouts(self) -> Rollouts:
        from deeplens.db.rollouts import PostgresRollouts

        return PostgresRollouts(self.connections)

    @cached_property
    def maintenance_runs(self) -> MaintenanceRuns:
        from deeplens.db.maintenance import PostgresMaintenanceRuns

        return PostgresMaintenanceRuns(self.connections)

    @cached_property
    def registered_stores(self) -> RegisteredStores:
        from deeplens.db.tenant_stores import PostgresRegisteredStores

        return PostgresRegisteredStores(self.connections)

    @cached_property
    def store_objects(self) -> StoreObjects:
        from deeplens.db.store_objects import PostgresStoreObjects

        return PostgresStoreObjects(self.connections)

    @cached_property
    def uploads(self) -> DirectUploads:
        from deeplens.db.direct_uploads import PostgresDirectUploads

        return PostgresDirectUploads(self.connections)

    @cached_property
    def store_owners(self) -> StoreOwners:
        from deeplens.db.direct_uploads import PostgresDirectUploads

        return PostgresDirectUploads(self.connections)

    @cached_property
    def webhooks(self) -> Webhooks:
        from deeplens.db.webhooks import PostgresWebhooks

        return PostgresWebhooks(self.connections)

    @cached_property
    def chats(self) -> Chats:
        from deeplens.db.whatsapp import PostgresChats

        return PostgresChats(self.connections)

    @cached_property
    def replies(self) -> Replies:
        from deeplens.db.whatsapp_replies import PostgresReplies

        return PostgresReplies(self.connections)

    @cached_property
    def pending(self) -> PendingImages:
        from deeplens.db.pending import PostgresPending

        own = self.settings
        return PostgresPending(self.connections, own.tenant_window, own.tenant_window_shared, own.frames_window)

    @cached_property
    def videos(self) -> VideoRepository:
        from deeplens.db.videos import PostgresVideos

        return PostgresVideos(self.connections)

    @cached_property
    def pending_videos(self) -> PendingVideos:
        from deeplens.db.pending_videos import PostgresPendingVideos

        return PostgresPendingVideos(self.connections)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        from deeplens.db.dead_letters import PostgresDeadLetters

        return PostgresDeadLetters(self.connections)

    @cached_property
    def alerts(self) -> Alerts:
        from deeplens.db.alerts import PostgresAlerts

        return PostgresAlerts(self.connections)

    @cached_property
    def usage(self) -> UsageMeter:
        from deeplens.db.usage import PostgresUsage

        return PostgresUsage(self.connections)

    @cached_property
    def budgets(self) -> Budgets:
        from deeplens.db.budgets import PostgresBudgets

        return PostgresBudgets(self.connections)

    @cached_property
    def request_counters(self) -> RequestCounters:
        from deeplens.db.request_counters import PostgresRequestCounters

        return PostgresRequestCounters(self.connections)

    @cached_property
    def api_keys(self) -> PostgresApiKeys:
        from deeplens.auth.api_keys import PostgresApiKeys

        return PostgresApiKeys(self.connections)

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

    def _secret(self, value: str, arn: str) -> str:
        """A value from the environment, or from the secret that a deployment names."""
        if value or not arn:
            return value
        from deeplens.aws import client

        return str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
