"""Store objects in a bucket with S3's API: AWS, MinIO, LocalStack."""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import batched
from typing import Any, BinaryIO

from botocore.exceptions import ClientError

from deeplens.errors import StoreNotOwned
from deeplens.storage.keys import check_mark, checked, checked_prefix, key_in, required, uri_of
from deeplens.storage.ports import ObjectInfo
from deeplens.storage.s3_errors import error_for, translated
from deeplens.storage.s3_uploads import S3Uploads, watch_uploads

MARK = "deeplens:installation"
"""Tag with the id of the installation that owns the bucket."""


class S3Store:
    """``ObjectStore`` on one bucket.

    A missing bucket raises ``TenantStoreDenied``: the service answers, so the tenant's configuration must be wrong.
    Only ``head`` raises ``ObjectNotFound``, as S3 does not distinguish a missing bucket from a missing key there.

    Parameters
    ----------
    client : boto3 S3 client.
    root : ``s3://bucket`` or ``minio://bucket``.
    region : where ``ensure`` creates the bucket.
    seconds_left : until the client's credentials expire, which limits the lifetime of presigned URLs.
    installation : this installation's id, which marks the bucket; empty for buckets that it does not own.
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
        self._client, self._root, self._region, self._seconds_left = client, root, region, seconds_left
        self._queue_arn, self._installation = queue_arn, installation
        self._bucket = root.partition("://")[2]

    def ensure(self) -> None:
        with translated(self._bucket):
            try:
                tags = self._tags()
            except ClientError as error:
                if _code(error) != "NoSuchBucket":
                    raise
                tags = self._create()
            check_mark(self._bucket, tags.get(MARK), self._installation)
            if self._queue_arn is not None:
                watch_uploads(self._client, self._bucket, self._queue_arn)

    def require_ours(self) -> None:
        with translated(self._bucket):
            check_mark(self._bucket, self._tags().get(MARK), self._installation)

    def adopt(self, replacing: str = "") -> None:
        with translated(self._bucket):
            tags = self._tags()
            if tags.get(MARK) not in (None, replacing):
                check_mark(self._bucket, tags.get(MARK), self._installation)
            self._write_mark(tags)

    def remove(self) -> None:
        with translated(self._bucket):
            try:
                check_mark(self._bucket, self._tags().get(MARK), self._installation)
                self._client.delete_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) != "NoSuchBucket":
                    raise

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        where = {"Bucket": self._bucket, "Key": checked(key)}
        with translated(key):
            if isinstance(body, bytes):
                self._client.put_object(**where, Body=body, ContentType=content_type)
            else:
                # As a multipart upload: a stream may exceed the limit of one request, and its length may be unknown.
                self._client.upload_fileobj(body, **where, ExtraArgs={"ContentType": content_type})

    def get(self, key: str) -> bytes:
        with translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=checked(key))
            return bytes(answer["Body"].read())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        span = f"bytes={start}-{start + length - 1}"
        with translated(key):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=checked(key), Range=span)
            except ClientError as error:
                if _code(error) != "InvalidRange":
                    raise
                return b""
            return bytes(answer["Body"].read())

    def stream(self, key: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        with translated(key):
            body = self._client.get_object(Bucket=self._bucket, Key=checked(key))["Body"]
        return _chunks(body, chunk_bytes, key)

    def head(self, key: str) -> ObjectInfo:
        with translated(key):
            answer = self._client.head_object(Bucket=self._bucket, Key=checked(key))
        return ObjectInfo(
            key, answer["ContentLength"], answer["ContentType"], answer["ETag"].strip('"'), answer["LastModified"]
        )

    def delete(self, keys: Iterable[str]) -> None:
        for group in batched((checked(key) for key in keys), 1000, strict=False):
            with translated(group[0]):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in group], "Quiet": True}
                )
            if refused := answer.get("Errors"):
                raise error_for(str(refused[0].get("Code")), 200, group[0])

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """List objects in key order; their content types are empty, as S3 does not list them."""
        arguments = {"Bucket": self._bucket, "Prefix": checked_prefix(prefix)}
        if after:
            arguments["StartAfter"] = after
        with translated(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(**arguments):
                for entry in page.get("Contents", []):
                    yield ObjectInfo(entry["Key"], entry["Size"], "", entry["ETag"].strip('"'), entry["LastModified"])

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        typed = {"ContentType": content_type, "MetadataDirective": "REPLACE"} if content_type else {}
        destination = {"Bucket": self._bucket, "Key": checked(target)}
        origin = {"Bucket": self._bucket, "Key": checked(source)}
        with translated(source):
            try:
                self._client.copy_object(**destination, CopySource=origin, **typed)
            except ClientError as error:
                if _code(error) != "InvalidRequest":
                    raise
                # An object above 5 GB is copied in parts.
                self._client.copy(origin, **destination, ExtraArgs=typed)

    def presign_get(self, key: str, expires: timedelta) -> str:
        return self._presign("get_object", expires, Key=checked(key))

    def presign_put(self, key: str, expires: timedelta, content_type: str) -> str:
        return self._presign("put_object", expires, Key=checked(key), ContentType=content_type)

    def uploads(self) -> S3Uploads:
        return S3Uploads(self._client, self._bucket, self._seconds_left)

    def uri(self, key: str) -> str:
        return uri_of(self._root, key)

    def key_of(self, uri: str) -> str:
        return key_in(self._root, uri)

    def _create(self) -> dict[str, str]:
        """Create and mark the bucket; return its tags, as another installation may have done the same meanwhile."""
        required(self._installation)
        location = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        extra = {"CreateBucketConfiguration": location} if location else {}
        try:
            self._client.create_bucket(Bucket=self._bucket, **extra)
        except ClientError as error:
            if _code(error) != "BucketAlreadyOwnedByYou":
                raise
        tags = self._tags()
        if MARK not in tags:
            self._write_mark(tags)
        return self._tags()

    def _tags(self) -> dict[str, str]:
        try:
            found = self._client.get_bucket_tagging(Bucket=self._bucket)["TagSet"]
        except ClientError as error:
            if _code(error) == "AccessDenied":
                # Not ``TenantStoreDenied``, which a tenant's deletion would take for a removed store.
                why = "does not allow reading its tags (s3:GetBucketTagging)"
                raise StoreNotOwned(self._bucket, why=why) from error
            if _code(error) != "NoSuchTagSet":
                raise
            return {}
        return {tag["Key"]: tag["Value"] for tag in found}

    def _write_mark(self, tags: dict[str, str]) -> None:
        """Add the mark to the bucket's tags; S3 replaces all tags at once."""
        marked = {**tags, MARK: required(self._installation)}
        tag_set = [{"Key": key, "Value": value} for key, value in marked.items()]
        self._client.put_bucket_tagging(Bucket=self._bucket, Tagging={"TagSet": tag_set})

    def _presign(self, operation: str, expires: timedelta, **parameters: str) -> str:
        seconds = int(min(expires.total_seconds(), self._seconds_left()))
        return str(
            self._client.generate_presigned_url(
                operation, Params={"Bucket": self._bucket, **parameters}, ExpiresIn=seconds
            )
        )


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _chunks(body: Any, chunk_bytes: int, key: str) -> Iterator[bytes]:
    with translated(key):
        yield from body.iter_chunks(chunk_bytes)
