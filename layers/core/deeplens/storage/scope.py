"""Get credentials for one tenant's bucket alone: STS issues them for an hour with a session policy."""

import json
from datetime import UTC, datetime
from typing import Any

from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import StoreUnavailable
from deeplens.storage.keys import BUCKET_NAME

SESSION_SECONDS = 3600
"""Longest session of a role that is assumed with another role's credentials."""
ON_BUCKET = (
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:GetBucketTagging",
    "s3:ListBucket",
    "s3:PutBucketNotification",
    "s3:PutBucketTagging",
    "s3:PutLifecycleConfiguration",
)
ON_OBJECTS = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)


def bucket_policy(bucket: str, partition: str = "aws") -> dict[str, Any]:
    """Allow what ``S3Store`` does, on this bucket alone.

    Parameters
    ----------
    partition : of the ARNs: ``aws``, ``aws-cn``, ``aws-us-gov``.

    Raises
    ------
    ValueError
        The name is not that of exactly one bucket.
    """
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is not the name of a bucket")
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(ON_BUCKET), "Resource": arn},
            {"Effect": "Allow", "Action": list(ON_OBJECTS), "Resource": f"{arn}/*"},
        ],
    }


def expect_owner(client: Any, account: str) -> None:
    """Make every call of an S3 client name the account that the bucket has to belong to.

    The name of a bucket may pass to somebody else. Presigned URLs cannot name the account, as their users would have to
    send it in a header.
    """

    def add(params: dict[str, Any], model: Any, context: Any = None, **_: Any) -> dict[str, Any] | None:
        members = model.input_shape.members if model.input_shape else {}
        names = {"ExpectedBucketOwner", "ExpectedSourceBucketOwner"} & members.keys()
        presigned = bool(context) and context.get("is_presign_request") is True
        return None if presigned or not names else {**params, **dict.fromkeys(names, account)}

    client.meta.events.register("provide-client-params.s3", add)


class AssumedRole(DeferredRefreshableCredentials):
    """Credentials of a role, fetched at first use and renewed before they expire, by one thread.

    Parameters
    ----------
    sts : boto3 STS client with the function's own credentials.
    request : of ``AssumeRole``.
    """

    def __init__(self, sts: Any, request: dict[str, Any]) -> None:
        super().__init__(self._assume, "assume-role")
        self._sts, self._expires_at = sts, datetime.min.replace(tzinfo=UTC)
        self._request = {**request, "DurationSeconds": SESSION_SECONDS}

    def seconds_left(self) -> float:
        """Return the seconds until the credentials, and what is signed with them, expire. Raises as a call does."""
        self.get_frozen_credentials()
        return (self._expires_at - datetime.now(UTC)).total_seconds()

    def _assume(self) -> dict[str, str]:
        try:
            answer = self._sts.assume_role(**self._request)["Credentials"]
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else None
            raise self.failure(code, f"STS: {code or type(error).__name__}") from error
        self._expires_at = answer["Expiration"]
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": self._expires_at.isoformat(),
        }

    def failure(self, code: str | None, message: str) -> Exception:  # noqa: ARG002 - for roles of tenants
        """Return the error for STS's code; it is None where STS does not answer."""
        # Never ``TenantStoreDenied``: the role is the platform's, and no tenant's record may fail because of it.
        return StoreUnavailable(message)


class BucketCredentials(AssumedRole):
    """Credentials of the platform's role for one tenant's bucket.

    Parameters
    ----------
    role_arn : the platform's role, which may use every tenant's bucket.
    session_name : the tenant's id, for the bucket's access log and CloudTrail.
    """

    def __init__(self, sts: Any, role_arn: str, session_name: str, bucket: str) -> None:
        policy = json.dumps(bucket_policy(bucket, role_arn.split(":")[1]))
        super().__init__(sts, {"RoleArn": role_arn, "RoleSessionName": session_name, "Policy": policy})
