"""Where the machine-local platform keeps its state and which ports it uses."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalConfig(BaseSettings):
    """Each field is an environment variable with the prefix ``DEEPLENS_``, e.g. ``DEEPLENS_API_PORT``.

    A port of 0 means any free one.
    """

    model_config = SettingsConfigDict(env_prefix="DEEPLENS_", extra="ignore")

    state_dir: Path = Field(Path(".deeplens"), description="Databases, objects, logs; survives restarts")
    tools_dir: Path = Field(Path(".tools"), description="Downloaded services, shared by all stacks of this checkout")
    host: str = Field("127.0.0.1", description="Address that the API listens on; the services stay on 127.0.0.1")
    api_port: int = Field(8000, ge=0, le=65535, description="HTTP API and console")
    identity_port: int = Field(5198, ge=0, le=65535, description="The same API under the issuer's address, Swagger UI")
    inference_port: int = Field(8001, ge=0, le=65535, description="Inference endpoint")
    kafka_port: int = Field(9092, ge=0, le=65535, description="Broker")
    postgres_port: int = Field(5433, ge=0, le=65535, description="Platform and tenant databases")
    aws_port: int = Field(4566, ge=0, le=65535, description="LocalStack")
    qdrant_port: int = Field(6333, ge=0, le=65535, description="Vector index")
    storage: Literal["nfs", "s3"] = Field("nfs", description="Store of new tenants: a directory, or S3 on LocalStack")
    pending_due_seconds: float = Field(600, description="Age after which an unfinished image is sent again")
    faults: str = Field("", description="SEED:PROBABILITY of a function's process to die at each side effect")
    max_processes: int = Field(
        os.cpu_count() or 2, ge=1, description="Most processes of one function; one per core if absent"
    )

    @property
    def models_dir(self) -> Path:
        """Where `deeplens models add` puts models, and the inference endpoint finds them."""
        return self.state_dir / "models"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"
