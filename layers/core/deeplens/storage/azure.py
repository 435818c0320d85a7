"""Store objects in an Azure Blob container, over connections to public addresses only."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobSasPermissions, ContainerClient, ContentSettings, generate_blob_sas

from deeplens.egress.requests import guarded_session
from deeplens.egress.rules import EgressRules
from deeplens.errors import (
    DeepLensError,
    EndpointRefused,
    NotServed,
    ObjectNotFound,
    StoreNotOwned,
    StoreUnavailable,
    TenantStoreDenied,
)
from deeplens.storage.keys import Bucket, checked, checked_prefix
from deeplens.storage.ports import ClientUploads, ObjectInfo
from deeplens.storage.traced import traced

TRANSIENT_STATUS = {408, 429}
NOT_FOUND_CODES = {"BlobNotFound", "ResourceNotFound"}
CLIENT_OPTIONS: dict[str, Any] = {
    "connection_timeout": 3,
    "read_timeout": 20,
    "retry_total": 2,
    "retry_connect": 1,
    "retry_backoff_factor": 0.2,
}


def container_client(endpoint: str, container: str, credential: Any, rules: EgressRules) -> ContainerClient:
    """Return a client that signs with an account's key or a SAS, and connects only where ``rules`` allow.

    Parameters
    ----------
    endpoint : of the account, e.g. ``https://acme.blob.core.windows.net``.
    credential : ``{"account_name": …, "account_key": …}`` or a SAS token.
    """
    transport = RequestsTransport(session=guarded_session(rules), session_owner=False)
    return ContainerClient(endpoint, container, credential=credential, transport=transport, **CLIENT_OPTIONS)


@traced
class AzureStore(Bucket):
    """``ObjectStore`` on one container.

    Parameters
    ----------
    root : ``azure://container``.
    account_key : signs URLs; without it, with a SAS alone, there are no signed URLs, as they would contain the SAS.
    """

    def __init__(self, client: ContainerClient, root: str, account_key: str | None = None) -> None:
        super().__init__(root)
        self._client, self._account_key = client, account_key

    def ensure(self) -> None:
        with _translated(self._root):
            if not self._client.exists():
                self._client.create_container()

    def require_ours(self) -> None:
        """Raise always: the platform itself has no stores in Azure, so no container carries its mark."""
        raise StoreNotOwned(self._root)

    def adopt(self, replacing: str = "") -> None:  # noqa: ARG002 - the port's signature
        self.require_ours()

    def remove(self) -> None:
        self.require_ours()

    def put(self, key: str, body: bytes | BinaryIO, content_type: str) -> None:
        settings = ContentSettings(content_type=content_type)
        with _translated(key):
            self._blob(key).upload_blob(body, overwrite=True, content_settings=settings)

    def get(self, key: str) -> bytes:
        with _translated(key):
            return bytes(self._blob(key).download_blob().readall())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with _translated(key):
            try:
                return bytes(self._blob(key).download_blob(start, length).readall())
            except HttpResponseError as error:
                if _code(error) != "InvalidRange":
                    raise
                return b""

    def head(self, key: str) -> ObjectInfo:
        with _translated(key):
            return _info(self._blob(key).get_blob_properties())

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with _translated(key):
                try:
                    self._blob(key).delete_blob(delete_snapshots="include")
                except HttpResponseError as error:
                    if _code(error) not in NOT_FOUND_CODES:
                        raise

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        arguments: dict[str, Any] = {"name_starts_with": checked_prefix(prefix) or None}
        if after:
            arguments["start_from"] = after
        with _translated(prefix):
            for blob in self._client.list_blobs(**arguments):
                # ``start_from`` includes the key itself, and servers that do not know the option ignore it.
                if blob.name > after:
                    yield _info(blob)

    def copy(self, source: str, target: str, content_type: str = "") -> None:
        # Through this process: a copy by the server would need a SAS for the source.
        with _translated(source):
            download = self._blob(source).download_blob()
            kind = content_type or download.properties.content_settings.content_type
            self.put(target, bytes(download.readall()), kind or "application/octet-stream")

    def presign_get(self, key: str, expires: timedelta) -> str:
        blob = self._blob(key)
        if self._account_key is None:
            # The client's own URL would carry the tenant's SAS.
            raise NotServed("this file is too large to be served; read it from the container, which has only a SAS")
        sas = generate_blob_sas(
            str(self._client.account_name),
            self._client.container_name,
            key,
            account_key=self._account_key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + expires,
        )
        return f"{blob.url}?{sas}"

    def uploads(self) -> ClientUploads:
        raise NotServed("Azure containers accept no direct uploads")

    def _blob(self, key: str) -> Any:
        return self._client.get_blob_client(checked(key))


def _info(blob: Any) -> ObjectInfo:
    kind = blob.content_settings.content_type or "application/octet-stream"
    return ObjectInfo(blob.name, blob.size, kind, str(blob.etag).strip('"'), blob.last_modified)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Translate Azure's errors."""
    try:
        yield
    except HttpResponseError as error:
        raise _error_for(_code(error), error.status_code or 500, key) from error
    except AzureError as error:
        if refused := _endpoint_refused(error):
            raise refused from None
        raise StoreUnavailable(type(error).__name__) from error


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _endpoint_refused(error: BaseException | None) -> EndpointRefused | None:
    """Return the ``EndpointRefused`` that caused an error, if one did."""
    while error is not None and not isinstance(error, EndpointRefused):
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return error


def _error_for(code: str, status: int, key: str) -> DeepLensError:
    if code in NOT_FOUND_CODES or (status == 404 and not code):
        return ObjectNotFound(f"no object {key}")
    if status >= 500 or status in TRANSIENT_STATUS:
        return StoreUnavailable(code or str(status))
    return TenantStoreDenied(f"the store denied access: {code or status}", code or str(status))
