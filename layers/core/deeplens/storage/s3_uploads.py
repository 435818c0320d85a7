"""Let clients upload to a bucket: presigned forms and parts, and the notifications and lifecycle of a new bucket."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from deeplens.errors import ObjectNotFound
from deeplens.storage.keys import checked
from deeplens.storage.ports import PREFIX, FormPost, Part, PartUrl
from deeplens.storage.s3_errors import translated

UNKNOWN_TYPE = "application/octet-stream"
"""The type that a client declares is ignored; the copy gets the type of its bytes."""
NOTIFICATIONS_ID = LIFECYCLE_ID = "deeplens-uploads"
EXPIRY_DAYS = 2
"""Longer than an upload stays open, so that older objects are abandoned."""


class S3Uploads:
    """``ClientUploads`` on S3.

    Parameters
    ----------
    seconds_left : until the credentials that sign expire.
    """

    def __init__(self, client: Any, bucket: str, seconds_left: Callable[[], float]) -> None:
        self._client, self._bucket, self._seconds_left = client, bucket, seconds_left

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        seconds, until = self._expiry(expires)
        form = self._client.generate_presigned_post(
            self._bucket,
            checked(key),
            Fields={"Content-Type": UNKNOWN_TYPE},
            Conditions=[{"Content-Type": UNKNOWN_TYPE}, ["content-length-range", 1, max_bytes]],
            ExpiresIn=seconds,
        )
        return FormPost(form["url"], form["fields"], until)

    def begin(self, key: str) -> str:
        with translated(key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=checked(key), ContentType=UNKNOWN_TYPE
            )
        return str(answer["UploadId"])

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        seconds, until = self._expiry(expires)
        upload = {"Bucket": self._bucket, "Key": checked(key), "UploadId": multipart_id}
        part = {**upload, "PartNumber": number, "ContentLength": size_bytes}
        url = self._client.generate_presigned_url("upload_part", Params=part, ExpiresIn=seconds)
        return PartUrl(number, str(url), size_bytes, until)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        upload = {"Bucket": self._bucket, "Key": checked(key), "UploadId": multipart_id}
        with translated(key):
            pages = self._client.get_paginator("list_parts").paginate(**upload)
            return [
                Part(part["PartNumber"], part["Size"], part["ETag"]) for page in pages for part in page.get("Parts", [])
            ]

    def join(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with translated(key):
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=checked(key), UploadId=multipart_id, MultipartUpload={"Parts": listed}
            )

    def abort(self, key: str, multipart_id: str) -> None:
        try:
            with translated(key):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=checked(key), UploadId=multipart_id)
        except ObjectNotFound:
            return

    def _expiry(self, expires: timedelta) -> tuple[int, datetime]:
        """Return a URL's lifetime in seconds, and when it expires."""
        seconds = max(1, math.floor(min(expires.total_seconds(), self._seconds_left())))
        return seconds, datetime.now(UTC) + timedelta(seconds=seconds)


def watch_uploads(client: Any, bucket: str, queue_arn: str) -> None:
    """Make a bucket notify the queue of uploads, and delete abandoned uploads; safe to repeat.

    Parameters
    ----------
    queue_arn : empty for no notifications.
    """
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [_lifecycle_rule()]})
    if queue_arn:
        configuration = {"QueueConfigurations": [_notification(queue_arn)]}
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def _lifecycle_rule() -> dict[str, Any]:
    return {
        "ID": LIFECYCLE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": PREFIX},
        "Expiration": {"Days": EXPIRY_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": EXPIRY_DAYS},
    }


def _notification(queue_arn: str) -> dict[str, Any]:
    return {
        "Id": NOTIFICATIONS_ID,
        "QueueArn": queue_arn,
        "Events": ["s3:ObjectCreated:*"],
        # Only uploads: objects that stages write have other prefixes and must not trigger the function.
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": PREFIX}]}},
    }
