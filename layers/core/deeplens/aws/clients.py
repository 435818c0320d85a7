"""Make AWS clients: with ``localstack-client`` on the local stack, with boto3 elsewhere."""

from functools import cache
from threading import Lock
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials

from deeplens.settings import Settings

# boto3's session is not thread-safe; its clients are.
_LOCK = Lock()
# LocalStack accepts any pair, but checks signatures of presigned URLs with this one.
LOCAL_CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(service: str, own: Settings, endpoint_url: str = "") -> Any:
    """Return a client, shared by all callers with equal settings. ``endpoint_url`` overrides ``AWS_ENDPOINT_URL``."""
    with _LOCK:
        return _client(service, own, endpoint_url)


@cache
def _client(service: str, own: Settings, endpoint_url: str) -> Any:
    endpoint = endpoint_url or own.aws_endpoint_url or None
    config = _config(service, own, custom=endpoint is not None)
    on_local_stack = own.environment == "local" and own.aws_endpoint_url and not endpoint_url
    if on_local_stack and (session := _local_session(own)):
        return session.client(service, config=config)
    credentials = LOCAL_CREDENTIALS if on_local_stack else {}
    return boto3.client(  # type: ignore[call-overload]
        service, endpoint_url=endpoint, region_name=own.aws_region, config=config, **credentials
    )


def scoped_client(
    service: str, own: Settings, credentials: Credentials, endpoint_url: str = "", region: str = ""
) -> Any:
    """Return a new client with these credentials; endpoint and region override those of the settings."""
    endpoint = endpoint_url or own.aws_endpoint_url or None
    config = _config(service, own, custom=endpoint is not None)
    with _LOCK:
        session = _scoped_session()
        # One session for all clients, as it caches the service's model: with a new session a client takes 30 times as
        # long. A client keeps the credentials that the session has when it is made.
        session._session._credentials = credentials  # type: ignore[attr-defined]
        return session.client(  # type: ignore[call-overload]
            service, endpoint_url=endpoint, region_name=region or own.aws_region, config=config
        )


@cache
def _scoped_session() -> boto3.Session:
    return boto3.Session(botocore_session=botocore.session.get_session())


def _local_session(own: Settings) -> Any:
    """Return ``localstack-client``'s session for these settings; None when the package is not installed."""
    try:
        # Only the local stack installs it.
        from localstack_client.session import Session
    except ImportError:
        return None
    session = Session(region_name=own.aws_region, **LOCAL_CREDENTIALS)
    # It would prefer the process's AWS_ENDPOINT_URL, which may be that of another stack.
    session._service_endpoint_mapping = dict.fromkeys(session._service_endpoint_mapping, own.aws_endpoint_url)
    return session


def _config(service: str, own: Settings, *, custom: bool) -> Config:
    """Configure few retries, as records wait in Kafka; at custom endpoints, only features of every S3 server."""
    options: dict[str, Any] = {}
    if service == "s3":
        # Otherwise URLs are signed with version 2 in some regions.
        options["signature_version"] = "s3v4"
    if service == "s3" and custom:
        options["s3"] = {"addressing_style": "path"}
        options["request_checksum_calculation"] = options["response_checksum_validation"] = "when_required"
    return Config(
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=max(32, own.parallelism),
        **options,
    )
