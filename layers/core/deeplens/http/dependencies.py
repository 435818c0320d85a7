"""What the API needs of the world, and how a request reaches it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from fastapi import Depends, Request

from deeplens.common.resolve import Resolver

if TYPE_CHECKING:
    from datetime import timedelta

    from deeplens.access.api_keys import PostgresApiKeys
    from deeplens.access.audit import PostgresAudit
    from deeplens.access.ports import ApiKeys, BearerTokens
    from deeplens.common.ports import Clock, EventPublisher, SecretStore
    from deeplens.duplicates.model import Duplicates, MergeDeadlines
    from deeplens.egress.rules import EgressRules
    from deeplens.embedding.ports import Embedder
    from deeplens.failures.model import DeadLetters
    from deeplens.identity.postgres_accounts import PostgresAccounts
    from deeplens.images.event_log import EventLog
    from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
    from deeplens.imaging import Limits
    from deeplens.maintenance.model import MaintenanceRuns
    from deeplens.provisioning.provision import Provisioning
    from deeplens.rollouts.model import Rollouts, VectorStates
    from deeplens.settings import Settings
    from deeplens.storage.ports import StoreResolver
    from deeplens.stores.model import RegisteredStores, StoreObjects
    from deeplens.stores.opened import OpenStores
    from deeplens.tenants.limits import ResourceLimits
    from deeplens.tenants.ports import TenantDirectory
    from deeplens.tenants.records import PostgresTenantRecords
    from deeplens.uploads.model import DirectUploads, ObjectQueue
    from deeplens.usage.budgets import Budgets
    from deeplens.usage.model import RequestCounters, UsageMeter
    from deeplens.vectors.ports import VectorIndex
    from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRepository
    from deeplens.webhooks.model import Webhooks, WebhookSigner
    from deeplens.whatsapp.chats import Chats


class ApiParts(Protocol):
    """Built by ``bootstrap``; each part when first used."""

    @property
    def settings(self) -> Settings: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def default_limits(self) -> ResourceLimits: ...
    @property
    def pending_due(self) -> PendingDue: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def tenants(self) -> TenantDirectory: ...
    @property
    def images(self) -> ImageRepository: ...
    @property
    def event_log(self) -> EventLog: ...
    @property
    def duplicates(self) -> Duplicates: ...
    @property
    def merge_deadlines(self) -> MergeDeadlines: ...
    @property
    def pending(self) -> PendingImages: ...
    @property
    def uploads(self) -> DirectUploads: ...
    @property
    def object_queue(self) -> ObjectQueue: ...
    @property
    def stores(self) -> StoreResolver: ...
    @property
    def index(self) -> VectorIndex: ...
    @property
    def embedder(self) -> Embedder: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def publisher(self) -> EventPublisher: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def bearer_tokens(self) -> BearerTokens: ...
    @property
    def request_counters(self) -> RequestCounters: ...
    @property
    def usage(self) -> UsageMeter: ...
    @property
    def budgets(self) -> Budgets: ...
    @property
    def registered_stores(self) -> RegisteredStores: ...
    @property
    def videos(self) -> VideoRepository: ...
    @property
    def pending_videos(self) -> PendingVideos: ...
    @property
    def pending_videos_due(self) -> PendingVideosDue: ...


class AdminParts(ApiParts, Protocol):
    """What the Admin API needs beside that."""

    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def maintenance_runs(self) -> MaintenanceRuns: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def chats(self) -> Chats: ...
    @property
    def webhook_signer(self) -> WebhookSigner: ...
    @property
    def egress(self) -> EgressRules: ...
    @property
    def store_objects(self) -> StoreObjects: ...
    @property
    def open_stores(self) -> OpenStores: ...
    @property
    def secret_store(self) -> SecretStore: ...
    @property
    def sweep_grace(self) -> timedelta: ...
    @property
    def vector_states(self) -> VectorStates: ...
    @property
    def api_keys(self) -> PostgresApiKeys: ...
    @property
    def tenant_records(self) -> PostgresTenantRecords: ...
    @property
    def provisioning(self) -> Provisioning: ...
    @property
    def accounts(self) -> PostgresAccounts: ...
    @property
    def audit(self) -> PostgresAudit: ...


@cache
def port(kind: Callable[..., Any]) -> Callable[[Request], Awaitable[Any]]:
    """The dependency that gives a route a port, a value or a use case of type ``kind`` from the container."""

    # Asynchronous, as it asks no thread: it only hands on what the container has.
    async def resolve(request: Request) -> Any:
        return cast("Resolver", request.app.state.container).resolve(kind)

    return resolve


if TYPE_CHECKING:
    type Injected[T] = T
else:

    class Injected:
        """``Injected[ImageRepository]`` as a route's parameter: an ``ImageRepository`` from the container."""

        def __class_getitem__(cls, kind: Callable[..., Any]) -> Any:
            return Annotated[kind, Depends(port(kind))]


async def parts_of(request: Request) -> ApiParts:
    return cast("ApiParts", request.app.state.container)


async def admin_parts_of(request: Request) -> AdminParts:
    return cast("AdminParts", request.app.state.container)


async def traceparent_of(request: Request) -> str:
    return cast("str", request.state.traceparent)


Parts = Annotated[ApiParts, Depends(parts_of)]
Admin = Annotated[AdminParts, Depends(admin_parts_of)]
Traceparent = Annotated[str, Depends(traceparent_of)]
