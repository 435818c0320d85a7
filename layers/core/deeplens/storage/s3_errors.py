"""S3's errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from deeplens.errors import DeepLensError, ObjectNotFound, StoreUnavailable, TenantStoreDenied

MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
PASSING = {
    "429",
    "ExpiredToken",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
}
"""Refusals with a status below 500, or none, that say nothing against the tenant's configuration."""


@contextmanager
def translated(key: str) -> Iterator[None]:
    """S3's errors as ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        raise meaning(code, status, key) from error
    except ParamValidationError as error:
        raise TenantStoreDenied("the bucket's name is not one that S3 allows") from error
    except BotoCoreError as error:
        raise StoreUnavailable(type(error).__name__) from error


def meaning(code: str, status: int, key: str) -> DeepLensError:
    """What an error code says: only what will pass may hold up a whole partition."""
    if code in MISSING:
        return ObjectNotFound(f"no object {key}")
    if status >= 500 or code in PASSING:
        return StoreUnavailable(code)
    return TenantStoreDenied(f"the store refused: {code}", code)
