"""Store objects in a bucket with S3's API: AWS, MinIO, LocalStack."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from deeplens.errors import DeepLensError, ObjectNotFound, StoreNotOwned, StoreUnavailable, TenantStoreDenied
from deeplens.storage.keys import Bucket, checked, checked_prefix
from deeplens.storage.ports import PREFIX, ClientUploads, FormPost, ObjectInfo, Part, PartUrl
from deeplens.storage.traced import traced

MARK = "deeplens:installation"
"""Tag with the id of the installation that owns the bucket."""
UNKNOWN_TYPE = "application/octet-stream"
"""The type that a client declares is ignored; the copy gets the type of its bytes."""
EXPIRY_DAYS = 2
"""Longer than an upload stays open, so that older objects are abandoned."""
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


@traced
class S3Store(Bucket):
    """``ObjectStore`` on one bucket.

    A missing bucket raises ``TenantStoreDenied``: the service answers, so the tenant's configuration must be wrong.
    Only ``head`` raises ``ObjectNotFound``, as S3 does not distinguish a missing bucket from a missing key there.

    Parameters
    ----------
    client : boto3 S3 client.
    root : ``s3://bucket`` or ``minio://bucket``.
    region : where ``ensure`` creates the bucket.
    seconds_left : until the client's credentials expire, which limits the lifetime of presigned URLs.
    installation : as in ``Bucket``.
    queue_arn : queue for the bucket's notifications of uploads; None to leave notifications and lifecycle unchanged.
    """

    def __init__(
        self,
        client: Any,
        root: str,
        region: str,
        seconds_left: Callable[[], float] = lambda: math.inf,
        queue_arn: str | None = None,
        installation: str = "",
    ) -> None:
        super().__init__(root, installation)
        self._client, self._region = client, region
        self._seconds_left, self._queue_arn = seconds_left, queue_arn

    def ensure(self) -> None:
        with _translated(self._bucket):
            try:
                tags = self._tags()
            except ClientError as error:
                if _code(error) != "NoSuchBucket":
                    raise
                tags = self._create()
            self._check_mark(tags.get(MARK))
            if self._queue_arn is not None:
                _watch_uploads(self._client, self._bucket, self._queue_arn)

    def require_ours(self) -> None:
        with _translated(self._bucket):
            self._check_mark(self._tags().get(MARK))

    def adopt(self, replacing: str = "") -> None:
        with _translated(self._bucket):
            tags = self._tags()
            if tags.get(MARK) not in (None, replacing):
                self._check_mark(tags.get(MARK))
            self._write_mark(tags)

    def remove(self) -> None:
        with _translated(self._bucket), _ignored("NoSuchBucket"):
            self._check_mark(self._tags().get(MARK))
            self._client.delete_bucket(Bucket=self._bucket)

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        with _translated(key):
            if isinstance(body, bytes):
                self._client.put_object(**self._at(key), Body=body, ContentType=content_type)
            else:
                # As a multipart upload: a stream may exceed the limit of one request, and its length may be unknown.
                self._client.upload_fileobj(body, **self._at(key), ExtraArgs={"ContentType": content_type})

    def get(self, key: str) -> bytes:
        with _translated(key):
            return bytes(self._client.get_object(**self._at(key))["Body"].read())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        span = f"bytes={start}-{start + length - 1}"
        with _translated(key), _ignored("InvalidRange"):
            return bytes(self._client.get_object(**self._at(key), Range=span)["Body"].read())
        return b""

    def head(self, key: str) -> ObjectInfo:
        with _translated(key):
            found = self._client.head_object(**self._at(key))
        etag = found["ETag"].strip('"')
        return ObjectInfo(key, found["ContentLength"], found["ContentType"], etag, found["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        for group in batched((checked(key) for key in keys), 1000, strict=False):
            with _translated(group[0]):
                objects = {"Objects": [{"Key": key} for key in group], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
            if refused := answer.get("Errors"):
                raise _error_for(str(refused[0].get("Code")), 200, group[0])

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """List objects in key order; their content types are empty, as S3 does not list them."""
        arguments = {"Bucket": self._bucket, "Prefix": checked_prefix(prefix)}
        if after:
            arguments["StartAfter"] = after
        with _translated(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(**arguments):
                for entry in page.get("Contents", []):
                    yield ObjectInfo(entry["Key"], entry["Size"], "", entry["ETag"].strip('"'), entry["LastModified"])

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        typed = {"ContentType": content_type, "MetadataDirective": "REPLACE"} if content_type else {}
        destination, origin = self._at(target), self._at(source)
        with _translated(source):
            with _ignored("InvalidRequest"):
                self._client.copy_object(**destination, CopySource=origin, **typed)
                return
            # An object above 5 GB is copied in parts.
            self._client.copy(origin, **destination, ExtraArgs=typed)

    def presign_get(self, key: str, expires: timedelta) -> str:
        seconds = int(min(expires.total_seconds(), self._seconds_left()))
        return str(self._client.generate_presigned_url("get_object", Params=self._at(key), ExpiresIn=seconds))

    def uploads(self) -> ClientUploads:
        return S3Uploads(self._client, self._at, self._seconds_left)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": checked(key)}

    def _create(self) -> dict[str, str]:
        """Create and mark the bucket; return its tags, as another installation may have done the same meanwhile."""
        self._own_mark()
        location = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        extra = {} if self._region == "us-east-1" else location
        with _ignored("BucketAlreadyOwnedByYou"):
            self._client.create_bucket(Bucket=self._bucket, **extra)
        tags = self._tags()
        if MARK not in tags:
            self._write_mark(tags)
        return self._tags()

    def _tags(self) -> dict[str, str]:
        try:
            found = self._client.get_bucket_tagging(Bucket=self._bucket)["TagSet"]
        except ClientError as error:
            if _code(error) == "NoSuchTagSet":
                return {}
            if _code(error) != "AccessDenied":
                raise
            # Not ``TenantStoreDenied``, which a tenant's deletion would take for a removed store.
            raise StoreNotOwned(self._bucket, why="does not allow reading its tags (s3:GetBucketTagging)") from error
        return {tag["Key"]: tag["Value"] for tag in found}

    def _write_mark(self, tags: dict[str, str]) -> None:
        """Add the mark to the bucket's tags; S3 replaces all tags at once."""
        marked = {**tags, MARK: self._own_mark()}
        tag_set = [{"Key": key, "Value": value} for key, value in marked.items()]
        self._client.put_bucket_tagging(Bucket=self._bucket, Tagging={"TagSet": tag_set})


class S3Uploads:
    """``ClientUploads`` on S3.

    Parameters
    ----------
    at : returns bucket and key of a key, as arguments of the client.
    seconds_left : until the credentials that sign expire.
    """

    def __init__(self, client: Any, at: Callable[[str], dict[str, str]], seconds_left: Callable[[], float]) -> None:
        self._client, self._at, self._seconds_left = client, at, seconds_left

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        seconds, until = self._expiry(expires)
        form = self._client.generate_presigned_post(
            **self._at(key),
            Fields={"Content-Type": UNKNOWN_TYPE},
            Conditions=[{"Content-Type": UNKNOWN_TYPE}, ["content-length-range", 1, max_bytes]],
            ExpiresIn=seconds,
        )
        return FormPost(form["url"], form["fields"], until)

    def begin(self, key: str) -> str:
        with _translated(key):
            answer = self._client.create_multipart_upload(**self._at(key), ContentType=UNKNOWN_TYPE)
        return str(answer["UploadId"])

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        seconds, until = self._expiry(expires)
        part = {**self._at(key), "UploadId": multipart_id, "PartNumber": number, "ContentLength": size_bytes}
        url = self._client.generate_presigned_url("upload_part", Params=part, ExpiresIn=seconds)
        return PartUrl(number, str(url), size_bytes, until)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        with _translated(key):
            pages = self._client.get_paginator("list_parts").paginate(**self._at(key), UploadId=multipart_id)
            parts = [part for page in pages for part in page.get("Parts", [])]
        return [Part(part["PartNumber"], part["Size"], part["ETag"]) for part in parts]

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        upload = {**self._at(key), "UploadId": multipart_id}
        with _translated(key):
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})

    def abort(self, key: str, multipart_id: str) -> None:
        with suppress(ObjectNotFound), _translated(key):
            self._client.abort_multipart_upload(**self._at(key), UploadId=multipart_id)

    def _expiry(self, expires: timedelta) -> tuple[int, datetime]:
        """Return a URL's lifetime in seconds, and when it expires."""
        seconds = max(1, math.floor(min(expires.total_seconds(), self._seconds_left())))
        return seconds, datetime.now(UTC) + timedelta(seconds=seconds)


def _watch_uploads(client: Any, bucket: str, queue_arn: str) -> None:
    """Make a bucket notify the queue of uploads, if there is one, and delete abandoned uploads; safe to repeat."""
    abandoned = {
        "ID": "deeplens-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": PREFIX},
        "Expiration": {"Days": EXPIRY_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": EXPIRY_DAYS},
    }
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [abandoned]})
    if queue_arn:
        created = {
            "Id": "deeplens-uploads",
            "QueueArn": queue_arn,
            "Events": ["s3:ObjectCreated:*"],
            # Only uploads: objects that stages write have other prefixes and must not trigger the function.
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": PREFIX}]}},
        }
        configuration = {"QueueConfigurations": [created]}
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


@contextmanager
def _ignored(code: str) -> Iterator[None]:
    """Ignore S3's error with this code."""
    try:
        yield
    except ClientError as error:
        if _code(error) != code:
            raise


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Translate errors of S3 about ``key``."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        raise _error_for(_code(error), status, key) from error
    except ParamValidationError as error:
        raise TenantStoreDenied("the bucket's name is not valid in S3") from error
    except BotoCoreError as error:
        raise StoreUnavailable(type(error).__name__) from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _error_for(code: str, status: int, key: str) -> DeepLensError:
    """Return the error for S3's code; only transient ones may block a whole partition."""
    if code in NOT_FOUND_CODES:
        return ObjectNotFound(f"no object {key}")
    if status >= 500 or code in TRANSIENT_CODES:
        return StoreUnavailable(code)
    return TenantStoreDenied(f"the store denied access: {code}", code)
