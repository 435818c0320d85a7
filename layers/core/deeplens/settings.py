"""The one reader of the environment, validated at cold start."""

from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the parts are and how much of each a function may use. Names are environment variables, upper-cased."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    environment: Literal["local", "production"] = Field("production", alias="DEEPLENS_ENVIRONMENT")
    database_url: str = Field(
        "", description="Platform database, postgresql://user:password@host:port/deeplens_platform"
    )
    database_secret_arn: str = Field("", description="Secrets Manager secret holding the URL, instead of DATABASE_URL")
    tenant_database_key: str = Field(
        "", description="Secret that the passwords of the tenants' database roles follow from; 32 characters at least"
    )
    tenant_database_key_secret_arn: str = Field(
        "", description="Secrets Manager secret holding it, instead of TENANT_DATABASE_KEY"
    )
    webhook_key: str = Field("", description="Secret that webhooks' secrets follow from; 32 characters at least")
    webhook_key_secret_arn: str = Field("", description="Secrets Manager secret holding it, instead of WEBHOOK_KEY")
    whatsapp_graph_url: str = Field(
        "https://graph.facebook.com/v25.0", description="Base URL of the Graph API, with its version"
    )
    whatsapp_secret_arn: str = Field(
        "", description="Secrets Manager secret, a JSON object with appSecret, verifyToken and accessToken"
    )
    whatsapp_app_secret: str = Field("", description="Signs WhatsApp's webhooks, instead of WHATSAPP_SECRET_ARN")
    whatsapp_verify_token: str = Field("", description="What Meta shows when the webhook is set up, instead of it")
    whatsapp_access_token: str = Field("", description="What the Graph API is called with, instead of it")
    whatsapp_max_media_bytes: int = Field(16 * 1024 * 1024, ge=1, description="Largest file taken from a chat")
    tenant_connections: int = Field(4, ge=1, description="Open tenant databases per execution environment")
    kafka_brokers: str = Field("", description="host:port, comma-separated")
    kafka_security: Literal["PLAINTEXT", "SSL", "IAM"] = Field("PLAINTEXT", description="IAM is MSK's")
    kafka_client_id: str = "deeplens"
    kafka_topic: str = Field("", description="Topic of WhatsApp's messages; by default whatsapp-ready-messages")
    publish_timeout_seconds: float = Field(10.0, gt=0)
    qdrant_url: str = ""
    qdrant_api_key: str = ""
    aws_region: str = "us-east-1"
    aws_endpoint_url: str = Field("", description="LocalStack or another endpoint; empty means AWS")
    s3_endpoint_url: str = Field(
        "", description="S3-compatible endpoint of s3:// and minio:// stores; defaults to AWS_ENDPOINT_URL"
    )
    installation_id: str = Field(
        "", description="Marks the buckets that this installation made; unique, and the same for every function"
    )
    tenant_storage_role_arn: str = Field(
        "", description="Role assumed per tenant for s3:// stores, for its bucket alone"
    )
    egress_allowed_networks: str = Field(
        "", description="CIDRs, comma-separated, that endpoints of tenants may lead to although they are not public"
    )
    egress_http: bool = Field(False, description="Whether endpoints of tenants may be http:// as well")
    nfs_root: Path = Field(Path("/mnt/deeplens"), description="Directory that nfs:// stores live in")
    tenant_nfs_root: Path = Field(
        Path("/mnt/tenants"), description="Directory whose folders, named by tenants' ids, hold what they may register"
    )
    public_url: str = Field("", description="Base URL clients reach the API at; signs URLs of directory stores")
    url_signing_key: str = Field("", description="Secret of HMAC-signed URLs of directory stores")
    identity_url: str = Field("", description="Issuer of tokens: the URL that browsers reach the identity API at")
    default_storage: Literal["s3", "minio", "nfs"] = Field("s3", description="Store of tenants that name none")
    inference_url: str = Field("", description="Open Inference Protocol endpoint")
    inference_endpoint_name: str = Field("", description="SageMaker endpoint; used when INFERENCE_URL is empty")
    inference_timeout_seconds: float = 30.0
    inference_max_batch: int = Field(32, ge=1)
    inference_max_request_bytes: int = Field(5 * 1024 * 1024, ge=1024, description="SageMaker takes 6 MB")
    max_upload_bytes: int = Field(4_400_000, description="What fits through API Gateway and Lambda as base64")
    max_image_bytes: int = Field(100 * 1024 * 1024)
    max_image_pixels: int = Field(100_000_000)
    max_image_frames: int = Field(500)
    default_max_images: int = Field(0, ge=0, description="Images of a tenant without a limit of its own; 0 = unlimited")
    default_max_bytes: int = Field(0, ge=0, description="The same for the bytes of its originals")
    default_requests_per_minute: int = Field(0, ge=0, description="The same for its requests to the API")
    default_max_file_bytes: int = Field(0, ge=0, description="The same for the bytes of one upload")
    parallelism: int = Field(8, ge=1, description="Threads that work on one batch")
    tenant_window: int = Field(200, ge=1, description="Images of one tenant in flight")
    tenant_window_shared: int = Field(200, ge=1, description="The same while another tenant uses the API")
    backfill_window: int = Field(50, ge=1, description="Images of one tenant in flight to a model that is rolled out")
    scan_window: int = Field(150, ge=1, description="Pending images of one tenant beyond which a scan accepts none")
    frames_window: int = Field(
        50, ge=1, description="Of one tenant's images in flight, those that are frames of videos"
    )
    max_video_bytes: int = Field(10 * 1024**3, ge=1)
    max_video_seconds: float = Field(4 * 3600, gt=0)
    video_segment_seconds: float = Field(300, gt=0, description="Of a video that one event is about, at most")
    pending_videos_due_seconds: float = Field(1800, description="Age after which an unfinished video is sent again")
    retry_queue_url: str = Field("", description="SQS queue that failed records wait in for their next attempt")
    alert_topic_arn: str = Field("", description="SNS topic that operators are told on; empty means by the log only")
    object_queue_url: str = Field("", description="SQS queue that buckets notify of uploads")
    object_queue_arn: str = Field("", description="Its ARN, which new buckets are given; empty: they notify nobody")
    pending_due_seconds: float = Field(600, description="Age after which an unfinished image is sent again")
    faults: str = Field(
        "",
        alias="DEEPLENS_FAULTS",
        pattern=r"^([^:]+:(0?\.\d+|[01]))?$",
        description="SEED:PROBABILITY of dying at each side effect; the local platform's alone",
    )
    aws_lambda_function_name: str = ""
    aws_lambda_log_stream_name: str = ""
    storage_measured_every_seconds: float = Field(
        900, ge=0, description="Between two measurements of what a tenant stores, for its usage"
    )
    sweep_grace_seconds: float = Field(86_400, ge=0, description="What is younger is left alone by maintenance")
    sweep_every_seconds: float = Field(86_400, ge=0, description="Between two sweeps of a tenant that keeps changing")

    thumbnails_kept_days: int = Field(
        0,
        ge=0,
        description="Age after which storage optimisation may drop thumbnails; readers make them again. 0 = none",
    )

    @property
    def fault_plan(self) -> tuple[str, float] | None:
        """Seed and probability; None wherever the local platform does not say that this is it."""
        if self.environment != "local" or not self.faults:
            return None
        seed, _, probability = self.faults.rpartition(":")
        return seed, float(probability)

    @property
    def execution_environment(self) -> str:
        """What tells this process from every other one of its function, and from the one before it."""
        return f"{self.aws_lambda_function_name}/{self.aws_lambda_log_stream_name}"

    @field_validator("egress_allowed_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        for one in filter(None, map(str.strip, value.split(","))):
            ip_network(one)
        return value


@lru_cache(maxsize=1)
def settings() -> Settings:
    return Settings()
