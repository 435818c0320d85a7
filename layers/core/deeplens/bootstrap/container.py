"""Every adapter, built from the settings when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, cast

from deeplens.bootstrap.maintenance import MaintenanceRegistry
from deeplens.common.resolve import providers_of
from deeplens.events.topics import RETRIES
from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.access.bearer import BearerTokens, IdentityTokens
    from deeplens.access.ports import ActiveClients, ApiKeys, AuditLog, AuditRetention
    from deeplens.alerts.model import AlertChannel, Alerts
    from deeplens.bootstrap.platform_routes import HealthChecks
    from deeplens.common.ports import Clock, EventPublisher, SecretStore
    from deeplens.database.connections import Connections
    from deeplens.duplicates.model import Duplicates, MergeDeadlines
    from deeplens.egress.rules import EgressRules
    from deeplens.embedding.ports import Embedder
    from deeplens.failures.model import DeadLetters, RetryPolicies, RetryQueue
    from deeplens.identity.client_keys.ports import ClientKeyStore
    from deeplens.identity.development import DevelopmentCredentials
    from deeplens.identity.federation.documents import CachedDocuments
    from deeplens.identity.federation.ports import IdentityProviders, ProviderEndpoint, TxtRecords
    from deeplens.identity.federation.provider import ProviderClient
    from deeplens.identity.model import Environment, Issuer
    from deeplens.identity.ports import Clients, Grants, SignInAttempts, StoredKeys, Users
    from deeplens.identity.recovery.compose import ComposeMail
    from deeplens.identity.recovery.ports import EmailChanges, Invitations, Outbox, PasswordResets
    from deeplens.identity.second_factors.policy import SecondFactorPolicy
    from deeplens.identity.second_factors.ports import PendingSignIns, SecondFactors, SignInPolicies
    from deeplens.identity.sessions.model import SessionLimits
    from deeplens.identity.sessions.ports import Sessions
    from deeplens.identity.signing_keys import DerivationKey, SigningKeys
    from deeplens.images.ports import EventLog, ImageRepository, PendingDue, PendingImages
    from deeplens.imaging.decoder import ImageDecoder
    from deeplens.imaging.limits import Limits
    from deeplens.levels.measure import Levels, TenantWindow
    from deeplens.mail.ports import Mailer
    from deeplens.maintenance.model import MaintenanceRuns, SweepGrace, SweepInterval, ThumbnailRetention
    from deeplens.probe.model import ProbedApi
    from deeplens.provisioning.create import DefaultStorage
    from deeplens.provisioning.provision import Provisioning
    from deeplens.rollouts.model import BackfillWindow, Rollouts, VectorStates
    from deeplens.storage.keys import BucketNames
    from deeplens.storage.ports import StoreResolver
    from deeplens.stores.model import MaxImageBytes, RegisteredStores, ScanWindow, StoreObjects, StorePlatform
    from deeplens.stores.resolver import OpenStores
    from deeplens.tenants.limits import MaxUploadBytes, ResourceLimits
    from deeplens.tenants.ports import TenantDirectory, TenantRecords
    from deeplens.traces.model import Traces
    from deeplens.uploads.model import DirectUploads, ObjectQueue, StoreOwners
    from deeplens.usage.model import Budgets, RequestMinutes, StorageInterval, UsageMeter
    from deeplens.vectors.keys import IndexKeys
    from deeplens.vectors.ports import VectorIndex
    from deeplens.videos.decoding.decoder import VideoDecoder
    from deeplens.videos.decoding.limits import VideoLimits
    from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRepository
    from deeplens.webhooks.model import Webhooks, WebhookSender, WebhookSigner
    from deeplens.whatsapp.chats import Chats, Replies, WhatsApp
    from deeplens.whatsapp.collection import ChatCollection, MaxMediaBytes
    from deeplens.whatsapp.incoming import WhatsAppSecrets


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def value(read: Callable[[Settings], Any]) -> Any:
    """Return a property that is read from the settings."""
    return cached_property(lambda container: read(container.settings))


def adapter(path: str, arguments: Callable[[Container], list[Any]] | None = None) -> Any:
    """Return a property: the class at ``path``, imported and built at first use.

    ``arguments`` computes the arguments from the container; by default the types of the parameters name them.
    """
    if arguments is None:
        return cached_property(lambda container: container.build(resolve_name(path)))
    return cached_property(lambda container: resolve_name(path)(*arguments(container)))


class Container(MaintenanceRegistry):
    """The adapters of this execution environment. Vendor packages are imported when an adapter is first used."""

    settings: Settings

    pending_due: PendingDue = value(lambda settings: timedelta(seconds=settings.pending_due_seconds))
    max_upload_bytes: MaxUploadBytes = value(lambda settings: settings.max_upload_bytes)
    pending_videos_due: PendingVideosDue = value(
        lambda settings: timedelta(seconds=settings.pending_videos_due_seconds)
    )
    sweep_grace: SweepGrace = value(lambda settings: timedelta(seconds=settings.sweep_grace_seconds))
    sweep_every: SweepInterval = value(lambda settings: timedelta(seconds=settings.sweep_every_seconds))
    measured_every: StorageInterval = value(lambda settings: timedelta(seconds=settings.storage_measured_every_seconds))
    tenant_window: TenantWindow = value(lambda settings: settings.tenant_window)
    backfill_window: BackfillWindow = value(lambda settings: settings.backfill_window)
    max_image_bytes: MaxImageBytes = value(lambda settings: settings.max_image_bytes)
    thumbnails_kept: ThumbnailRetention | None = value(
        lambda settings: timedelta(days=settings.thumbnails_kept_days) if settings.thumbnails_kept_days else None
    )
    # Smaller than the tenant's settings window, so that uploads find room beside a scan.
    scan_window: ScanWindow = value(lambda settings: min(settings.scan_window, max(1, settings.tenant_window * 3 // 4)))
    audit_kept: AuditRetention = value(lambda settings: timedelta(days=settings.audit_kept_days))
    issuer: Issuer = value(lambda settings: settings.identity_url)
    environment: Environment = value(lambda settings: settings.environment)
    max_media_bytes: MaxMediaBytes = value(lambda settings: settings.whatsapp_max_media_bytes)
    default_storage: DefaultStorage = value(lambda settings: settings.default_storage)
    retry_policies: RetryPolicies = value(lambda _: RETRIES)
    clock: Clock = value(lambda _: SystemClock())
    rng: Random = value(lambda _: SystemRandom())

    images: ImageRepository = adapter("deeplens.images.postgres:PostgresImages")
    event_log: EventLog = adapter("deeplens.images.postgres:PostgresEventLog")
    vector_states: VectorStates = adapter("deeplens.rollouts.postgres:PostgresVectorStates")
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
    pending_videos: PendingVideos = adapter("deeplens.videos.postgres:PostgresPendingVideos")
    dead_letters: DeadLetters = adapter("deeplens.failures.postgres:PostgresDeadLetters")
    levels: Levels = adapter("deeplens.levels.postgres:PostgresLevels")
    alerts: Alerts = adapter("deeplens.alerts.postgres:PostgresAlerts")
    usage: UsageMeter = adapter("deeplens.usage.postgres:PostgresUsage")
    budgets: Budgets = adapter("deeplens.usage.postgres:PostgresBudgets")
    request_counters: RequestMinutes = adapter("deeplens.usage.postgres:PostgresRequestCounters")
    api_keys: ApiKeys = adapter("deeplens.access.postgres:PostgresApiKeys")
    active_clients: ActiveClients = adapter("deeplens.access.postgres:PostgresActiveClients")
    clients: Clients = adapter("deeplens.identity.postgres_people:PostgresClients")
    users: Users = adapter("deeplens.identity.postgres_people:PostgresUsers")
    sign_in_attempts: SignInAttempts = adapter("deeplens.identity.postgres_attempts:PostgresSignInAttempts")
    second_factors: SecondFactors = adapter("deeplens.identity.second_factors.postgres:PostgresSecondFactors")
    pending_sign_ins: PendingSignIns = adapter("deeplens.identity.second_factors.postgres:PostgresPendingSignIns")
    sign_in_policies: SignInPolicies = adapter("deeplens.identity.second_factors.postgres:PostgresSignInPolicies")
    second_factor_policy: SecondFactorPolicy = adapter("deeplens.identity.second_factors.policy:SecondFactorPolicy")
    session_limits: SessionLimits = adapter(
        "deeplens.identity.sessions.model:SessionLimits",
        lambda self: [
            timedelta(minutes=self.settings.session_idle_minutes),
            timedelta(hours=self.settings.session_hours),
        ],
    )
    sessions: Sessions = adapter("deeplens.identity.sessions.postgres:PostgresSessions")
    grants: Grants = adapter("deeplens.identity.postgres_grants:PostgresGrants")
    outbox: Outbox = adapter("deeplens.identity.recovery.postgres:PostgresOutbox")
    password_resets: PasswordResets = adapter("deeplens.identity.recovery.postgres:PostgresPasswordResets")
    invitations: Invitations = adapter("deeplens.identity.recovery.postgres:PostgresInvitations")
    email_changes: EmailChanges = adapter("deeplens.identity.recovery.postgres_email:PostgresEmailChanges")
    compose_mail: ComposeMail = adapter("deeplens.identity.recovery.compose:ComposeMail")
    stored_keys: StoredKeys = adapter("deeplens.identity.postgres_keys:PostgresSigningKeys")
    audit: AuditLog = adapter("deeplens.access.postgres:PostgresAudit")
    tenant_records: TenantRecords = adapter("deeplens.tenants.postgres:PostgresTenantRecords")
    tenants: TenantDirectory = adapter(
        "deeplens.tenants.directory:PostgresDirectory", lambda self: [self.connections, self.settings.qdrant_url]
    )
    pending: PendingImages = adapter(
        "deeplens.images.postgres_pending:PostgresPending",
        lambda self: [
            self.connections,
            self.settings.tenant_window,
            self.settings.tenant_window_shared,
            self.settings.frames_window,
        ],
    )
    publisher: EventPublisher = adapter("deeplens.kafka.publisher:KafkaPublisher")
    identity_providers: IdentityProviders = adapter("deeplens.identity.federation.postgres:PostgresIdentityProviders")
    provider_endpoint: ProviderEndpoint = adapter("deeplens.identity.federation.endpoint:EgressProviderEndpoint")
    provider_documents: CachedDocuments = adapter("deeplens.identity.federation.documents:CachedDocuments")
    client_keys: ClientKeyStore = adapter("deeplens.identity.client_keys.postgres:PostgresClientKeys")
    provider_client: ProviderClient = adapter("deeplens.identity.federation.provider:ProviderClient")
    txt_records: TxtRecords = adapter("deeplens.identity.federation.dns:DnsTxtRecords")
    development_credentials: DevelopmentCredentials = adapter("deeplens.identity.development:DevelopmentCredentials")
    signing_keys: SigningKeys = adapter("deeplens.identity.signing_keys:SigningKeys")
    derivation_key: DerivationKey = adapter("deeplens.identity.signing_keys:DerivationKey")
    chat_collection: ChatCollection = adapter("deeplens.whatsapp.collection:ChatCollection")
    stores: StoreResolver = adapter("deeplens.stores.resolver:Stores")
    webhook_sender: WebhookSender = adapter("deeplens.webhooks.sender:EgressWebhookSender")
    bucket_names: BucketNames = adapter(
        "deeplens.storage.keys:BucketNames",
        lambda self: [self.settings.tenant_bucket_prefix, self.settings.tenant_bucket_suffix],
    )
    provisioning: Provisioning = adapter(
        "deeplens.provisioning.provision:Provisioning",
        lambda self: [self.connections, self.stores, self.index, self.settings.qdrant_url, self.bucket_names],
    )
    limits: Limits = adapter(
        "deeplens.imaging.limits:Limits",
        lambda self: [
            self.settings.max_image_bytes,
            self.settings.max_image_pixels,
            self.settings.max_image_frames,
            self.settings.aws_lambda_function_memory_size << 19,
        ],
    )
    decoder: ImageDecoder = adapter(
        "deeplens.imaging.decoder:ImageDecoder",
        lambda self: [self.limits, self.settings.decoder_seconds, self.settings.child_environment],
    )
    video_decoder: VideoDecoder = adapter(
        "deeplens.videos.decoding.decoder:VideoDecoder",
        lambda self: [self.video_limits, self.settings.child_environment],
    )
    secret_store: SecretStore = adapter(
        "deeplens.aws.secrets:SecretsManager",
        lambda self: [self.aws("secretsmanager"), self.settings.name_prefix],
    )
    index: VectorIndex = adapter(
        "deeplens.vectors.qdrant:QdrantIndex", lambda self: [self.index_keys, self.settings.name_prefix]
    )
    object_queue: ObjectQueue = adapter(
        "deeplens.uploads.queue:SqsObjectQueue", lambda self: [self.aws("sqs"), self.settings.object_queue_url]
    )
    retries: RetryQueue = adapter(
        "deeplens.failures.queue:SqsRetryQueue", lambda self: [self.aws("sqs"), self.settings.retry_queue_url]
    )
    alert_channel: AlertChannel = adapter(
        "deeplens.alerts.sns:SnsAlertTopic", lambda self: [self.aws("sns"), self.settings.alert_topic_arn]
    )
    probed_api: ProbedApi = adapter(
        "deeplens.probe.http:HttpProbedApi",
        lambda self: [
            self.settings.identity_url,
            self.secret(self.settings.probe_key, self.settings.probe_key_secret_arn),
        ],
    )
    whatsapp: WhatsApp = adapter(
        "deeplens.whatsapp.graph:GraphApi",
        lambda self: [self.egress, self.settings.whatsapp_graph_url, lambda: self.whatsapp_secrets.access_token],
    )
    open_stores: OpenStores = adapter(
        "deeplens.stores.resolver:OpenStores",
        lambda self: [self.settings, lambda: self.registered_stores, lambda: self.secret_store, self.egress],
    )
    traces: Traces = adapter("deeplens.traces.jaeger:JaegerTraces", lambda self: [self.settings.jaeger_url])
    webhook_signer: WebhookSigner = adapter(
        "deeplens.webhooks.model:WebhookSigner",
        lambda self: [lambda: self.secret(self.settings.webhook_key, self.settings.webhook_key_secret_arn)],
    )

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def secret(self, value: str, arn: str) -> str:
        """A value from the environment, or from the secret that a deployment names."""
        if value or not arn:
            return value
        with resolve_name("deeplens.aws.secrets:translated")(arn):
            return str(self.aws("secretsmanager")().get_secret_value(SecretId=arn)["SecretString"])

    def aws(self, service: str) -> Callable[[], Any]:
        """Return what makes a client of AWS: boto3 is slow to import, and most invocations need none."""
        return lambda: resolve_name("deeplens.aws.clients:client")(service, self.settings)

    @cached_property
    def connections(self) -> Connections:
        from deeplens.database.connections import Connections

        settings = self.settings

        def platform_url() -> str:
            return self._database_url(settings.database_url, settings.database_secret_arn)

        return Connections(
            platform_url(),
            settings.tenant_connections,
            tenant_key=self.secret(settings.tenant_database_key, settings.tenant_database_key_secret_arn),
            read_platform_url=platform_url,
            admin_url=lambda: self._database_url(settings.database_admin_url, settings.database_admin_secret_arn),
            server_credentials=self._server_credentials,
        )

    def _database_url(self, url: str, arn: str) -> str:
        from deeplens.database.credentials import url_of_secret

        return url_of_secret(self.secret(url, arn), self.settings.database_address)

    def _server_credentials(self, tenant_id: str) -> str:
        from deeplens.provisioning.servers import credentials_of

        return credentials_of(self.secret_store, tenant_id)

    @property
    def platform_role_urls(self) -> list[str]:
        """The platform database with the credentials of each role of the functions, for migrations."""
        from deeplens.database.credentials import url_of_secret

        arns = filter(None, self.settings.database_role_secret_arns.split(","))
        secrets = [*self.settings.database_role_urls.split(), *(self.secret("", arn.strip()) for arn in arns)]
        return [url_of_secret(secret) for secret in secrets]

    @cached_property
    def index_keys(self) -> IndexKeys:
        from deeplens.vectors.keys import IndexKeys

        settings = self.settings
        secret = self.secret(settings.qdrant_api_key, settings.qdrant_api_key_secret_arn)
        return IndexKeys.of(secret, settings.qdrant_url, required=settings.environment == "production")

    @cached_property
    def workers(self) -> Executor:
        return ThreadPoolExecutor(self.settings.parallelism, thread_name_prefix="batch")

    @cached_property
    def video_limits(self) -> VideoLimits:
        from deeplens.videos.decoding.limits import VideoLimits

        settings = self.settings
        return VideoLimits(
            settings.max_video_bytes, settings.max_video_seconds, segment_seconds=settings.video_segment_seconds
        )

    @cached_property
    def default_limits(self) -> ResourceLimits:
        """Of tenants that have none of their settings."""
        from deeplens.tenants.limits import ResourceLimits

        names = ("max_images", "max_bytes", "requests_per_minute", "max_file_bytes")
        return ResourceLimits(**{name: getattr(self.settings, f"default_{name}") for name in names})

    @cached_property
    def whatsapp_secrets(self) -> WhatsAppSecrets:
        from deeplens.whatsapp.incoming import WhatsAppSecrets

        settings = self.settings
        given = WhatsAppSecrets(
            settings.whatsapp_app_secret, settings.whatsapp_verify_token, settings.whatsapp_access_token
        )
        return given.with_defaults(self.secret("", settings.whatsapp_secret_arn))

    @cached_property
    def bearer_tokens(self) -> BearerTokens:
        """For the APIs: tokens that are meant for them. They may read the public keys, never make one."""
        from deeplens.access.bearer import BearerTokens, KeySet

        return BearerTokens(KeySet(self.stored_keys.jwks), self.issuer, self.active_clients.is_active)

    @cached_property
    def own_tokens(self) -> IdentityTokens:
        """For the identity API itself: any access token that it issued."""
        from deeplens.access.audiences import API_AUDIENCE, resources_of
        from deeplens.access.bearer import BearerTokens, KeySet

        audience = (API_AUDIENCE, self.issuer, *resources_of(self.issuer))
        active = self.active_clients.is_active
        tokens = BearerTokens(KeySet(self.signing_keys.jwks), self.issuer, active, audience)
        return cast("IdentityTokens", tokens)

    @cached_property
    def store_platform(self) -> StorePlatform:
        from deeplens.storage.keys import account_of
        from deeplens.stores.model import StorePlatform

        settings = self.settings
        account, url = account_of(settings.tenant_storage_role_arn), settings.public_url or settings.identity_url
        endpoints = tuple(filter(None, (settings.s3_endpoint_url, settings.aws_endpoint_url)))
        return StorePlatform(account, settings.object_queue_arn, url, endpoints, settings.tenant_bucket_prefix)

    @cached_property
    def egress(self) -> EgressRules:
        from deeplens.egress.rules import EgressRules

        networks = self.settings.egress_allowed_networks.split(",")
        return EgressRules.of(filter(None, map(str.strip, networks)), http=self.settings.egress_http)

    @cached_property
    def mailer(self) -> Mailer:
        settings = self.settings
        if settings.environment == "local" and settings.mailbox_dir:
            from deeplens.mail.mailbox import FolderMailbox

            return FolderMailbox(Path(settings.mailbox_dir), self.clock)
        from deeplens.mail.ses import SesMailer

        return SesMailer(self.aws("sesv2"), settings.mail_sender, settings.mail_configuration_set)

    @cached_property
    def embedder(self) -> Embedder:
        settings = self.settings
        if settings.inference_url:
            from deeplens.embedding.open_inference import OpenInferenceEmbedder

            return OpenInferenceEmbedder(settings)
        from deeplens.embedding.sagemaker import SageMakerEmbedder

        return SageMakerEmbedder(settings)

    @cached_property
    def health_checks(self) -> HealthChecks:
        from deeplens.bootstrap.platform_routes import HealthChecks
        from deeplens.embedding.model import BUILT_IN_MODEL

        checks: dict[str, Callable[[], object]] = {
            "database": lambda: self.tenant_records.page("", None, 1),
            "index": lambda: self.index.ping(self.settings.qdrant_url),
            "broker": lambda: self.publisher.ping(),
            "inference": lambda: self.embedder.describe(BUILT_IN_MODEL.name, BUILT_IN_MODEL.version),
        }
        return HealthChecks(checks)


ALSO_PROVIDED = {
    "AccessTokens": "bearer_tokens",
    "RequestCounters": "request_counters",
    "SecondFactorRequirements": "second_factor_policy",
    "Settings": "settings",
    "TenantStores": "stores",
}
"""Ports that an adapter fulfils beside the one that its property names."""
Container.providers = {**providers_of(Container), **ALSO_PROVIDED}
