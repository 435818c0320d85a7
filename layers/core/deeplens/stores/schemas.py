"""What the Admin API takes and gives about tenants' own stores."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from deeplens.http.schemas import ApiModel, example
from deeplens.storage.keys import checked

Kind = Literal["s3", "minio", "azure", "nfs"]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=4000)]
Endpoint = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s?#@]+$")]
CONTAINERS = {
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    "minio": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    "azure": re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]"),
}
AT = "2026-11-20T10:30:00Z"
ROLE = "arn:aws:iam::111122223333:role/deeplens"
STORE = {
    "storeId": "sto_01kd1v8q4w2m6n9r5t7x3z0abc",
    "kind": "s3",
    "mode": "reference",
    "container": "acme-photos",
    "prefix": "2026/",
    "region": "eu-central-1",
    "roleArn": ROLE,
    "externalId": "deeplens:tenant_acme",
    "removal": "delete",
    "state": "incomplete",
    "createdAt": AT,
    "checks": [
        {"check": "list", "outcome": "passed"},
        {
            "check": "read",
            "outcome": "denied",
            "missing": "s3:GetObject on arn:aws:s3:::acme-photos/2026/*",
            "advice": "Add this statement to the policy of the role or user whose credentials these are.",
            "snippet": '{"Version": "2012-10-17", "Statement": […]}',
        },
    ],
    "objects": {"present": 1200},
}


class CredentialsRequest(ApiModel):
    """Kept in the secret store and never shown: S3's keys, or Azure's account key or SAS."""

    model_config = ConfigDict(extra="forbid", **example({"accessKeyId": "AKIA…", "secretAccessKey": "…"}))

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    account_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{3,24}$")] | None = None
    account_key: Secret | None = None
    sas: Secret | None = None

    def values(self) -> dict[str, str]:
        """What was given, by its name on the wire."""
        given = self.model_dump(by_alias=True, exclude_none=True)
        return {name: one.get_secret_value() if isinstance(one, SecretStr) else str(one) for name, one in given.items()}

    def fits(self, kind: str) -> bool:
        """Whether these are what a store of this kind is opened with."""
        names = set(self.values())
        if kind == "azure":
            return names in ({"accountName", "accountKey"}, {"sas"})
        return kind in ("s3", "minio") and names - {"sessionToken"} == {"accessKeyId", "secretAccessKey"}


class StoreRequest(ApiModel):
    """``reference`` reads originals where they are; ``managed`` keeps all that DeepLens has of the tenant there."""

    model_config = ConfigDict(
        extra="forbid",
        **example({"kind": "s3", "container": "acme-photos", "region": "eu-central-1", "roleArn": ROLE}),
    )

    kind: Kind
    mode: Literal["reference", "managed"] = "reference"
    container: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="bucket, Azure container, or directory below the tenant's share"
    )
    endpoint: Endpoint | None = Field(default=None, description="of MinIO, Azure's account, or what else speaks S3")
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    prefix: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="", description="nothing outside is touched; managed: `deeplens/` if empty"
    )
    role_arn: (
        Annotated[str, StringConstraints(max_length=200, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
        | None
    ) = Field(default=None, description="assumed with the external id that the answer tells")
    bucket_owner: Annotated[str, StringConstraints(pattern=r"^\d{12}$")] | None = Field(
        default=None, description="account that the bucket has to belong to"
    )
    credentials: CredentialsRequest | None = None
    removal: Literal["delete", "keep", "ask"] = Field(
        default="delete", description="what becomes of an image whose object is removed"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        pattern = CONTAINERS.get(self.kind)
        if pattern is not None and not pattern.fullmatch(self.container):
            raise ValueError(f"container is not the name of one in {self.kind}")
        checked(self.container)
        if self.prefix:
            checked(self.prefix.removesuffix("/"))
        if self.kind in ("minio", "azure") and self.endpoint is None:
            raise ValueError(f"{self.kind} needs an endpoint")
        if self.kind == "nfs" and self.endpoint is not None:
            raise ValueError("a directory has no endpoint")
        self._check_credentials()
        return self

    def _check_credentials(self) -> None:
        if self.role_arn is not None and (self.kind != "s3" or self.credentials is not None or self.endpoint):
            raise ValueError("roleArn is for s3 on AWS, instead of credentials")
        if self.bucket_owner is not None and self.kind != "s3":
            raise ValueError("bucketOwner is for s3")
        if self.kind == "nfs" or self.role_arn is not None:
            if self.credentials is not None:
                raise ValueError(f"{self.kind} takes no credentials here")
        elif self.credentials is None or not self.credentials.fits(self.kind):
            raise ValueError("credentials: accountName and accountKey, or sas, for azure; else S3's two keys")


class RotateRequest(ApiModel):
    """New credentials are tried before they replace the old ones."""

    model_config = ConfigDict(
        extra="forbid", **example({"credentials": {"accessKeyId": "AKIA…", "secretAccessKey": "…"}})
    )

    credentials: CredentialsRequest


class CheckView(ApiModel):
    check: Literal["list", "read", "write", "notification"]
    outcome: str = Field(description="passed, skipped, or what is wrong")
    missing: str | None = Field(default=None, description="exactly what")
    advice: str | None = None
    snippet: str | None = Field(default=None, description="to paste, after a look")


class StoreView(ApiModel):
    """A store is followed once it is ``ready``: what its mode needs was found to work."""

    model_config = example(STORE)

    store_id: str
    kind: Kind
    mode: Literal["reference", "managed"]
    container: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    bucket_owner: str | None = None
    removal: Literal["delete", "keep", "ask"]
    state: Literal["ready", "incomplete"]
    created_at: AwareDatetime
    credentials_version: int = Field(default=0, description="rises with every rotation")
    notified_at: AwareDatetime | None = Field(default=None, description="when its last notification came")
    event_url: str | None = Field(default=None, description="where Event Grid or MinIO send notifications")
    checks: list[CheckView]
    objects: dict[str, int] = Field(default={}, description="known ones by state")


class NewStoreView(StoreView):
    """``eventSecret`` is shown this once."""

    model_config = example({**STORE, "eventSecret": "…"})

    event_secret: str


class StoreList(ApiModel):
    model_config = example({"stores": [STORE]})

    stores: list[StoreView]


class RemovalsRequest(ApiModel):
    model_config = ConfigDict(extra="forbid", **example({"decision": "keep"}))

    decision: Literal["delete", "keep"]


class RemovalsView(ApiModel):
    """Images and videos whose objects were removed while the policy was ``ask``."""

    model_config = example({"removals": [{"key": "2026/a.jpg", "imageId": "img_abc"}]})

    removals: list[dict[str, Any]]
