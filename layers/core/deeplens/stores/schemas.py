"""The bodies of the Admin API about customer-owned storage."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, StringConstraints, model_validator

from deeplens.http.schemas import AT, ApiModel, Request, example
from deeplens.storage.keys import checked
from deeplens.stores.advice import CheckName
from deeplens.stores.model import Removal, StoreKind, StoreMode, StoreState

Secret = Annotated[SecretStr, Field(min_length=1, max_length=4000)]
Endpoint = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s?#@]+$")]
S3_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
AZURE_CONTAINER = re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]")
CONTAINERS = {"s3": S3_BUCKET, "minio": S3_BUCKET, "azure": AZURE_CONTAINER}
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


class CredentialsRequest(Request):
    """S3's keys, or Azure's account key or SAS; kept in the secret store and never shown."""

    model_config = example({"accessKeyId": "AKIA…", "secretAccessKey": "…"})

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    account_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{3,24}$")] | None = None
    account_key: Secret | None = None
    sas: Secret | None = None

    def values(self) -> dict[str, str]:
        """What was given, by its name on the wire."""
        fields = self.model_dump(by_alias=True, exclude_none=True)
        return {name: text.get_secret_value() if isinstance(text, SecretStr) else text for name, text in fields.items()}

    def fits(self, kind: str) -> bool:
        """Whether these are what a store of this kind is opened with."""
        names = set(self.values())
        if kind == "azure":
            return names in ({"accountName", "accountKey"}, {"sas"})
        return kind in ("s3", "minio") and names - {"sessionToken"} == {"accessKeyId", "secretAccessKey"}


class StoreRequest(Request):
    """``reference`` reads originals where they are; ``managed`` keeps all objects of the tenant in this store."""

    model_config = example({"kind": "s3", "container": "acme-photos", "region": "eu-central-1", "roleArn": ROLE})

    kind: StoreKind
    mode: StoreMode = "reference"
    container: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="bucket, Azure container, or directory below the tenant's share"
    )
    endpoint: Endpoint | None = Field(default=None, description="of MinIO, Azure's account, or what else speaks S3")
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    prefix: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="", description="DeepLens touches only objects below it; managed: `deeplens/` if empty"
    )
    role_arn: (
        Annotated[str, StringConstraints(max_length=200, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
        | None
    ) = Field(default=None, description="assumed with the external id that the answer shows")
    bucket_owner: Annotated[str, StringConstraints(pattern=r"^\d{12}$")] | None = Field(
        default=None, description="account that the bucket has to belong to"
    )
    credentials: CredentialsRequest | None = None
    removal: Removal = Field(default="delete", description="what happens to an image whose object is removed")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        names, given = CONTAINERS.get(self.kind), self.credentials is not None
        on_aws = self.kind == "s3" and not self.endpoint
        needs_keys = self.kind != "nfs" and self.role_arn is None
        unfit = self.credentials is None or not self.credentials.fits(self.kind)
        faults = {
            f"container must be a valid name in {self.kind}": names and not names.fullmatch(self.container),
            f"{self.kind} needs an endpoint": self.kind in ("minio", "azure") and self.endpoint is None,
            "a directory has no endpoint": self.kind == "nfs" and self.endpoint is not None,
            "roleArn is for s3 on AWS, instead of credentials": self.role_arn is not None and (given or not on_aws),
            "bucketOwner is for s3": self.bucket_owner is not None and self.kind != "s3",
            f"{self.kind} takes no credentials here": given and not needs_keys,
            "credentials: accountName and accountKey, or sas, for azure; else S3's two keys": needs_keys and unfit,
        }
        for fault, applies in faults.items():
            if applies:
                raise ValueError(fault)
        checked(self.container)
        if self.prefix:
            checked(self.prefix.removesuffix("/"))
        return self


class RotateRequest(Request):
    """New credentials are tried before they replace the old ones."""

    model_config = example({"credentials": {"accessKeyId": "AKIA…", "secretAccessKey": "…"}})

    credentials: CredentialsRequest


class CheckView(ApiModel):
    check: CheckName
    outcome: str = Field(description="passed, skipped, or what is wrong")
    missing: str | None = Field(default=None, description="permission or setting")
    advice: str | None = None
    snippet: str | None = Field(default=None, description="to review and paste")


class StoreView(ApiModel):
    """A store is used once it is ``ready``: a probe found that all that its mode needs works."""

    model_config = example(STORE)

    store_id: str
    kind: StoreKind
    mode: StoreMode
    container: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    bucket_owner: str | None = None
    removal: Removal
    state: StoreState
    created_at: AwareDatetime
    credentials_version: int = Field(default=0, description="rises with every rotation")
    notified_at: AwareDatetime | None = Field(default=None, description="when its last notification came")
    event_url: str | None = Field(default=None, description="where Event Grid or MinIO send notifications")
    checks: list[CheckView]
    objects: dict[str, int] = Field(default={}, description="known objects by state")


class NewStoreView(StoreView):
    """``eventSecret`` is shown this once."""

    model_config = example({**STORE, "eventSecret": "…"})

    event_secret: str


class StoreList(ApiModel):
    model_config = example({"stores": [STORE]})

    stores: list[StoreView]


class RemovalsRequest(Request):
    model_config = example({"decision": "keep"})

    decision: Literal["delete", "keep"]


class RemovalsView(ApiModel):
    """Images and videos whose objects were removed while the policy was ``ask``."""

    model_config = example({"removals": [{"key": "2026/a.jpg", "imageId": "img_abc"}]})

    removals: list[dict[str, Any]]
