"""The one place where AWS clients are made: ``localstack-client`` on the local stack, boto3 elsewhere."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from deeplens.settings import settings


@cache
def client(service: str, endpoint_url: str = "") -> Any:
    """A client of ``service``, shared by all threads.

    Parameters
    ----------
    endpoint_url : overrides ``AWS_ENDPOINT_URL``, e.g. for a MinIO server.
    """
    own = settings()
    endpoint = endpoint_url or own.aws_endpoint_url or None
    options: dict[str, Any] = {"config": _config(service, path_style=bool(endpoint)), "region_name": own.aws_region}
    if own.environment == "local" and own.aws_endpoint_url and not endpoint_url:
        # Not a production dependency: only the local stack installs it.
        from localstack_client.session import Session

        return Session().client(service, endpoint_url=endpoint, **options)
    return boto3.client(service, endpoint_url=endpoint, **options)  # type: ignore[call-overload]


def _config(service: str, *, path_style: bool) -> Config:
    return Config(
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=32,
        s3={"addressing_style": "path" if path_style and service == "s3" else "auto"},
    )
