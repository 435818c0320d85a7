"""Translate S3's errors to those of DeepLens."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from deeplens.errors import DeepLensError, ObjectNotFound, StoreUnavailable, TenantStoreDenied

NOT_FOUND_CODES = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
TRANSIENT_CODES = {
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
"""Errors with a status below 500, or none, that do not come from the tenant's configuration."""


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Translate errors of S3 about ``key``."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        raise error_for(code, status, key) from error
    except ParamValidationError as error:
        raise TenantStoreDenied("the bucket's name is not valid in S3") from error
    except BotoCoreError as error:
        raise StoreUnavailable(type(error).__name__) from error


def error_for(code: str, status: int, key: str) -> DeepLensError:
    """Return the error for S3's code; only transient ones may block a whole partition."""
    if code in NOT_FOUND_CODES:
        return ObjectNotFound(f"no object {key}")
    if status >= 500 or code in TRANSIENT_CODES:
        return StoreUnavailable(code)
    return TenantStoreDenied(f"the store denied access: {code}", code)
