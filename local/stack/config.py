"""Configure the folders and ports of the platform on one machine."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalConfig(BaseSettings):
    """Each field is an environment variable with the prefix ``DEEPLENS_``, e.g. ``DEEPLENS_API_PORT``.

    Port 0 stands for any free port.
    """

    model_config = SettingsConfigDict(env_prefix="DEEPLENS_", extra="ignore")

    state_dir: Path = Field(Path(".deeplens"), description="Folder of databases, objects and logs; survives restarts")
    tools_dir: Path = Field(Path(".tools"), description="Folder of downloaded services, shared by all stacks")
    host: str = Field("127.0.0.1", description="Address that the API listens on; the services stay on 127.0.0.1")
    allow_remote: bool = Field(False, description="Whether HOST may be reachable from other machines")
    api_port: int = Field(8000, ge=0, le=65535, description="HTTP API and console")
    identity_port: int = Field(5198, ge=0, le=65535, description="The same API at the issuer's address, Swagger UI")
    inference_port: int = Field(8001, ge=0, le=65535, description="Inference endpoint")
    kafka_port: int = Field(9092, ge=0, le=65535, description="Broker")
    postgres_port: int = Field(5433, ge=0, le=65535, description="Platform and tenant databases")
    aws_port: int = Field(4566, ge=0, le=65535, description="LocalStack")
    qdrant_port: int = Field(6333, ge=0, le=65535, description="Vector index")
    telemetry_port: int = Field(4318, ge=0, le=65535, description="OTLP receiver, and `/metrics` for Prometheus")
    storage: Literal["nfs", "s3"] = Field("nfs", description="Store of new tenants: a directory, or S3 on LocalStack")
    pending_due_seconds: float = Field(600, description="Age at which an unfinished image is sent again")
    telemetry: bool = Field(
        True, description="Whether spans of the last day and metrics are kept, for `deeplens trace` and `top`"
    )
    probe: bool = Field(False, description="Whether the synthetic prober uses the API each minute, as a tenant")
    faults: str = Field(
        "",
        pattern=r"^([^:]+:(0?\.\d+|[01]))?$",
        description="SEED:PROBABILITY that a function's process dies at each side effect",
    )
    max_processes: int = Field(
        os.cpu_count() or 2, ge=1, description="Maximum number of processes of a function; one per core if absent"
    )

    @property
    def models_dir(self) -> Path:
        """Folder where `deeplens models add` stores models and the inference endpoint finds them."""
        return self.state_dir / "models"

    @property
    def mailbox_dir(self) -> Path:
        """Folder of the mails that the stack sends; none leaves this machine."""
        return self.state_dir / "mail"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"
