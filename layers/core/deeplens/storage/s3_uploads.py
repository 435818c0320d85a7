"""How clients write to a bucket by themselves: presigned forms and parts; and what a bucket is told at its creation."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from deeplens.errors import ObjectNotFound
from deeplens.storage.keys import checked
from deeplens.storage.ports import PREFIX, FormPost, Part, PartUrl
from deeplens.storage.s3_errors import translated

UNKNOWN_TYPE = "application/octet-stream"
"""What a client says of its file counts for nothing; the copy gets the type that its bytes have."""
NOTIFICATIONS_ID = LIFECYCLE_ID = "deeplens-uploads"
LEFT_DAYS = 2
"""Longer than an upload is open: what is older, nobody waits for."""


class S3Uploads:
    """``ClientUploads`` on S3.

    Parameters
    ----------
    seconds_left : of the credentials that sign.
    """

    def __init__(self, client: Any, bucket: str, seconds_left: Callable[[], float]) -> None:
        self._client, self._bucket, self._seconds_left = client, bucket, seconds_left

    def form(self, key: str, max_bytes: int, expires: timedelta) -> FormPost:
        seconds, until = self._lasting(expires)
        given = self._client.generate_presigned_post(
            self._bucket,
            checked(key),
            Fields={"Content-Type": UNKNOWN_TYPE},
            Conditions=[{"Content-Type": UNKNOWN_TYPE}, ["content-length-range", 1, max_bytes]],
            ExpiresIn=seconds,
        )
        return FormPost(given["url"], given["fields"], until)

    def begin(self, key: str) -> str:
        with translated(key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=checked(key), ContentType=UNKNOWN_TYPE
            )
        return str(answer["UploadId"])

    def part_url(self, key: str, multipart_id: str, number: int, size_bytes: int, expires: timedelta) -> PartUrl:
        seconds, until = self._lasting(expires)
        wanted = {"Bucket": self._bucket, "Key": checked(key), "UploadId": multipart_id}
        url = self._client.generate_presigned_url(
            "upload_part",
            Params={**wanted, "PartNumber": number, "ContentLength": size_bytes},
            ExpiresIn=seconds,
        )
        return PartUrl(number, str(url), size_bytes, until)

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        wanted = {"Bucket": self._bucket, "Key": checked(key), "UploadId": multipart_id}
        with translated(key):
            pages = self._client.get_paginator("list_parts").paginate(**wanted)
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

    def _lasting(self, expires: timedelta) -> tuple[int, datetime]:
        """How many seconds a URL is good for, and until when."""
        seconds = max(1, math.floor(min(expires.total_seconds(), self._seconds_left())))
        return seconds, datetime.now(UTC) + timedelta(seconds=seconds)


def watch_uploads(client: Any, bucket: str, queue_arn: str) -> None:
    """Have a bucket of our own notify the queue of uploads, and forget those that were abandoned; safe to repeat.

    Parameters
    ----------
    queue_arn : without one the bucket notifies nobody.
    """
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [_abandoned()]})
    if queue_arn:
        configuration = {"QueueConfigurations": [_notified(queue_arn)]}
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def _abandoned() -> dict[str, Any]:
    return {
        "ID": LIFECYCLE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": PREFIX},
        "Expiration": {"Days": LEFT_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": LEFT_DAYS},
    }


def _notified(queue_arn: str) -> dict[str, Any]:
    return {
        "Id": NOTIFICATIONS_ID,
        "QueueArn": queue_arn,
        "Events": ["s3:ObjectCreated:*"],
        # Nothing that stages write wakes the function: originals, processed files and thumbnails stand elsewhere.
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": PREFIX}]}},
    }
