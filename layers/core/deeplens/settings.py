"""Settings from environment variables, validated at cold start; nothing else reads the environment."""

from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses of dependencies, secrets and limits. Environment variables are the names in upper case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    environment: Literal["local", "production"] = Field("production", alias="DEEPLENS_ENVIRONMENT")
    name_prefix: str = Field("", description="Begins names that installations share an account or a server for")
    database_url: str = Field("", description="URL of the platform database, postgresql://user:password@host/name")
    database_secret_arn: str = Field("", description="Secret with that URL or its credentials as JSON, instead")
    database_address: str = Field("", description="host:port/name of secrets with only username and password")
    database_admin_url: str = Field("", description="The same for provisioning, as DATABASE_URL owns nothing")
    database_admin_secret_arn: str = Field("", description="Secret with that URL, instead of DATABASE_ADMIN_URL")
    database_role_urls: str = Field("", description="URLs of the functions' roles, which migrations create; spaces")
    database_role_secret_arns: str = Field("", description="Secrets with these URLs instead; commas")
    pgsslmode: str = Field("", description="Read by libpq; a deployment has verify-full, which no URL weakens")
    pgsslrootcert: Path | None = Field(None, description="Read by libpq: the CA certificates of PostgreSQL servers")
    tenant_database_key: str = Field(
        "", description="Passwords of tenants' roles derive from it; 32 characters or more"
    )
    tenant_database_key_secret_arn: str = Field("", description="Secret with that key, instead of TENANT_DATABASE_KEY")
    webhook_key: str = Field("", description="Webhooks' secrets derive from it; 32 characters or more")
    webhook_key_secret_arn: str = Field("", description="Secret with that key, instead of WEBHOOK_KEY")
    whatsapp_graph_url: str = Field("https://graph.facebook.com/v25.0", description="Graph API, with its version")
    whatsapp_secret_arn: str = Field("", description="Secret, JSON with appSecret, verifyToken and accessToken")
    whatsapp_app_secret: str = Field("", description="Signs WhatsApp's webhooks, instead of WHATSAPP_SECRET_ARN")
    whatsapp_verify_token: str = Field("", description="Meta sends it to set the webhook up; instead of the secret")
    whatsapp_access_token: str = Field("", description="Token for the Graph API, instead of the secret")
    whatsapp_max_media_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Largest file accepted from a chat")
    tenant_connections: int = Field(4, ge=1, description="Open tenant databases per execution environment")
    kafka_brokers: str = Field("", description="host:port, comma-separated")
    kafka_security: Literal["PLAINTEXT", "SSL", "IAM"] = Field("PLAINTEXT", description="IAM is for Amazon MSK")
    kafka_client_id: str = "deeplens"
    kafka_topic: str = Field("", description="Topic of WhatsApp's messages; by default whatsapp-ready-messages")
    kafka_consumer_group: str = Field("", description="Of the function's event source, for its spans")
    publish_timeout_seconds: float = Field(10.0, gt=0)
    qdrant_url: str = ""
    qdrant_api_key: str = Field("", description="API key of QDRANT_URL, or JSON with the keys of several URLs")
    qdrant_api_key_secret_arn: str = Field("", description="Secret with that key, instead of QDRANT_API_KEY")
    aws_region: str = "us-east-1"
    aws_endpoint_url: str = Field("", description="LocalStack or another endpoint; empty means AWS")
    s3_endpoint_url: str = Field("", description="Endpoint of s3:// and minio:// stores; default: AWS_ENDPOINT_URL")
    installation_id: str = Field("", description="Unique id, the same for every function; marks buckets as ours")
    tenant_storage_role_arn: str = Field("", description="Role assumed per tenant, restricted to its s3:// bucket")
    tenant_bucket_prefix: str = Field("tenant-", description="Begins the name of a new tenant's bucket")
    tenant_bucket_suffix: str = Field("", description="Ends the name of a new tenant's s3:// bucket")
    egress_allowed_networks: str = Field("", description="Internal networks that endpoints may lead to; CIDRs, commas")
    egress_http: bool = Field(False, description="Whether tenants' endpoints may use http://")
    nfs_root: Path = Field(Path("/mnt/deeplens"), description="Directory of nfs:// stores")
    tenant_nfs_root: Path = Field(Path("/mnt/tenants"), description="Folders, by tenant id, of registered stores")
    public_url: str = Field("", description="Base URL clients reach the API at; signs URLs of directory stores")
    url_signing_key: str = Field("", description="Key of the HMAC-signed URLs of directory stores")
    identity_url: str = Field("", description="Issuer of tokens: the URL of the identity API in browsers")
    session_idle_minutes: int = Field(30, ge=5, le=720, description="A browser without a visit for so long signs out")
    session_hours: int = Field(12, ge=1, le=12, description="A browser signs in again after so long, visits or not")
    default_storage: Literal["s3", "minio", "nfs"] = Field("s3", description="Store of tenants that choose none")
    inference_url: str = Field("", description="Open Inference Protocol endpoint")
    inference_endpoint_name: str = Field("", description="SageMaker endpoint; used when INFERENCE_URL is empty")
    inference_timeout_seconds: float = 30.0
    inference_max_batch: int = Field(32, ge=1)
    inference_max_request_bytes: int = Field(5 * 1024 * 1024, ge=1024, description="SageMaker accepts 6 MB")
    max_upload_bytes: int = Field(4_400_000, description="What fits through API Gateway and Lambda as base64")
    max_image_bytes: int = Field(100 * 1024 * 1024)
    max_image_pixels: int = Field(100_000_000)
    max_image_frames: int = Field(500)
    decoder_seconds: float = Field(10, ge=1, description="Longest decoding of one image")
    ld_library_path: str = Field("", description="Libraries of the interpreter, for the decoder's process as well")
    default_max_images: int = Field(0, ge=0, description="Most images of a tenant without its own limit; 0 = unlimited")
    default_max_bytes: int = Field(0, ge=0, description="Most bytes of its originals; 0 = unlimited")
    default_requests_per_minute: int = Field(0, ge=0, description="Most API requests per minute; 0 = unlimited")
    default_max_file_bytes: int = Field(0, ge=0, description="Most bytes of one upload; 0 = unlimited")
    parallelism: int = Field(8, ge=1, description="Threads per batch")
    tenant_window: int = Field(200, ge=1, description="Most images of one tenant in flight")
    tenant_window_shared: int = Field(200, ge=1, description="The same while another tenant uses the API")
    backfill_window: int = Field(50, ge=1, description="Most images of one tenant in flight during a rollout")
    scan_window: int = Field(150, ge=1, description="Pending images of one tenant at which a scan pauses")
    frames_window: int = Field(50, ge=1, description="Most frames of videos among one tenant's images in flight")
    max_video_bytes: int = Field(10 * 1024**3, ge=1)
    max_video_seconds: float = Field(4 * 3600, gt=0)
    video_segment_seconds: float = Field(300, gt=0, description="Longest segment of a video per event")
    pending_videos_due_seconds: float = Field(1800, description="Age at which an unfinished video is sent again")
    otel_exporter_otlp_endpoint: str = Field(
        "", description="Where spans and metrics are sent as OTLP JSON; empty: none"
    )
    otel_metrics_exporter: Literal["otlp", "none"] = Field("otlp", description="none: the endpoint takes only spans")
    otel_exporter_otlp_timeout: int = Field(150, ge=1, description="Milliseconds to connect, to send and to read")
    otel_exporter_otlp_metrics_default_histogram_aggregation: Literal[
        "base2_exponential_bucket_histogram", "explicit_bucket_histogram"
    ] = Field("base2_exponential_bucket_histogram", description="Explicit buckets are what Prometheus' rules count")
    otel_metric_export_interval: int = Field(0, ge=0, description="Milliseconds; 0: when an invocation ends")
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="Part of the traces that begin here")
    jaeger_url: str = Field("", alias="DEEPLENS_JAEGER_URL", description="Query API of Jaeger, for traces of images")
    retry_queue_url: str = Field("", description="SQS delay queue of failed records")
    alert_topic_arn: str = Field("", description="SNS topic of alerts to operators; empty: alerts are only logged")
    mail_sender: str = Field("", description="Address that mail comes from, verified in Amazon SES")
    mail_configuration_set: str = Field("", description="Configuration set of SES for this mail; empty means none")
    mailbox_dir: str = Field("", description="Folder that mail is written to instead; only on the local platform")
    probe_key: str = Field("", description="API key of the tenant that the synthetic prober uses")
    probe_key_secret_arn: str = Field("", description="Secret with that key, instead of PROBE_KEY")
    object_queue_url: str = Field("", description="SQS queue of the buckets' notifications of uploads")
    object_queue_arn: str = Field("", description="ARN of that queue, for new buckets; empty: no notifications")
    pending_due_seconds: float = Field(600, description="Age at which an unfinished image is sent again")
    aws_lambda_function_name: str = Field("", description="Names the function in its spans")
    aws_lambda_log_stream_name: str = Field("", description="Names its execution environment in its spans")
    aws_lambda_function_memory_size: int = Field(1769, description="MB; decoding an image may take half of it")
    storage_measured_every_seconds: float = Field(900, ge=0, description="Interval of measuring a tenant's storage")
    sweep_grace_seconds: float = Field(86_400, ge=0, description="Age below which maintenance deletes nothing")
    sweep_every_seconds: float = Field(86_400, ge=0, description="Interval between sweeps of a tenant with changes")
    audit_kept_days: int = Field(400, ge=90, description="Age at which entries of the audit log are purged")
    thumbnails_kept_days: int = Field(0, ge=0, description="Age at which optimisation deletes thumbnails; 0 = never")

    @property
    def child_environment(self) -> dict[str, str]:
        """Return what an interpreter needs to start, and nothing else."""
        return {"LD_LIBRARY_PATH": self.ld_library_path} if self.ld_library_path else {}

    @field_validator("egress_allowed_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in filter(None, map(str.strip, value.split(","))):
            ip_network(network)
        return value


@lru_cache(maxsize=1)
def settings() -> Settings:
    return Settings()
