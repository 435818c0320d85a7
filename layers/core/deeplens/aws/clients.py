"""The one place where AWS clients are made: ``localstack-client`` on the local stack, boto3 elsewhere."""

from functools import cache
from threading import Lock
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials

from deeplens.settings import Settings

# boto3's session may be used by one thread at a time; the clients it makes by all.
_MAKING = Lock()
# Any pair does for LocalStack; this one is what it checks the signatures of presigned URLs with.
LOCAL_CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(service: str, own: Settings, endpoint_url: str = "") -> Any:
    """A client of ``service``, shared by all threads and by all callers with equal settings.

    Parameters
    ----------
    endpoint_url : overrides ``AWS_ENDPOINT_URL``, e.g. for a MinIO server.
    """
    with _MAKING:
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
    """A new client that signs with these credentials and no others; the caller keeps it.

    Parameters
    ----------
    endpoint_url : overrides ``AWS_ENDPOINT_URL``.
    region : overrides ``AWS_REGION``.
    """
    endpoint = endpoint_url or own.aws_endpoint_url or None
    config = _config(service, own, custom=endpoint is not None)
    with _MAKING:
        session = _scoped_session()
        # A session hands its credentials to each client that it makes. One session for all, as it holds the service's
        # model: a client of its own session takes 30 times as long to make.
        session._session._credentials = credentials  # type: ignore[attr-defined]
        return session.client(  # type: ignore[call-overload]
            service, endpoint_url=endpoint, region_name=region or own.aws_region, config=config
        )


@cache
def _scoped_session() -> boto3.Session:
    return boto3.Session(botocore_session=botocore.session.get_session())


def _local_session(own: Settings) -> Any:
    """``localstack-client``'s session for these settings; None where the package is not installed."""
    try:
        # Not a production dependency: only the local stack installs it.
        from localstack_client.session import Session
    except ImportError:
        return None
    session = Session(region_name=own.aws_region, **LOCAL_CREDENTIALS)
    # It prefers AWS_ENDPOINT_URL of the process, where the LocalStack of another stack may answer.
    session._service_endpoint_mapping = dict.fromkeys(session._service_endpoint_mapping, own.aws_endpoint_url)
    return session


def _config(service: str, own: Settings, *, custom: bool) -> Config:
    """Few retries, for Kafka is the buffer; at a custom endpoint only what every S3 server understands."""
    options: dict[str, Any] = {}
    if service == "s3":
        # Without a version, URLs are signed by the retired scheme 2 in some regions.
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
