"""Validate object keys, and map them to URIs and back."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from deeplens.errors import InvalidEvent, StoreNotOwned, StoreUnavailable

MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 254
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\ufffe\uffff]")
"""Characters that file systems or XML do not preserve."""
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
STORE_PREFIX = "sto_"
"""Names of buckets have no underscore, so no bucket is mistaken for a registered store."""


def checked(key: str) -> str:
    """Return ``key`` if it is valid.

    Raises
    ------
    ValueError
        It is empty or too long; has an empty or dot segment, a leading or trailing slash, a backslash or a control
        character; is not Unicode; or a segment before the last ends in ``~``, where directory stores keep objects.
    """
    *folders, name = key.split("/")
    _check_folders(key, folders)
    _check_part(key, name)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"a key has at most {MAX_KEY_BYTES} bytes")
    return key


def checked_prefix(prefix: str) -> str:
    """Return ``prefix``. Raises ``ValueError`` when no key can begin with it."""
    *folders, start = prefix.split("/")
    _check_folders(prefix, folders)
    if UNSAFE.search(start):
        raise ValueError(f"not a prefix of keys: {prefix!r}")
    return prefix


def is_key(key: str) -> bool:
    """Return whether ``key`` is valid; a tenant's own store may have other keys."""
    try:
        checked(key)
    except ValueError:
        return False
    return True


def store_id_of(uri: str) -> str | None:
    """Return the id of the registered store in a URI; None for any other bucket."""
    authority = uri.partition("://")[2].partition("/")[0]
    return authority if authority.startswith(STORE_PREFIX) else None


def account_of(arn: str) -> str:
    """Return the account in an ARN; empty for what is no ARN."""
    return (arn.split(":") + 5 * [""])[4]


@dataclass(frozen=True, slots=True)
class BucketNames:
    """How the buckets of new tenants are named; the rows of tenants hold the names of all buckets.

    Attributes
    ----------
    suffix : of ``s3://`` buckets only. Their names are global, and anybody may take one beforehand that can be guessed.
    """

    prefix: str = "tenant-"
    suffix: str = ""

    def uri_of(self, scheme: str, tenant_id: str) -> str:
        name = self.prefix + tenant_id.removeprefix("tenant_").replace("_", "-")
        return f"{scheme}://{name}{self.suffix if scheme == 's3' else ''}"


class Bucket:
    """What every store of one bucket has: its name, the URIs of its keys, and the mark of an installation.

    Parameters
    ----------
    root : ``scheme://bucket``.
    installation : this installation's id, which marks the bucket; empty for buckets that it does not own.
    """

    def __init__(self, root: str, installation: str = "") -> None:
        self._root, self._bucket, self._installation = root, root.partition("://")[2], installation

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/a%20b`` for ``a b``."""
        return f"{self._root}/{quote(checked(key))}"

    def key_of(self, uri: str) -> str:
        """Return the key of a URI. Raises ``InvalidEvent`` for another bucket or an invalid key."""
        if not uri.startswith(f"{self._root}/"):
            raise InvalidEvent("the storage path lies outside the tenant's store")
        try:
            return checked(unquote(uri.removeprefix(f"{self._root}/"), errors="strict"))
        except ValueError as error:
            raise InvalidEvent(f"the storage path is not usable: {error}") from error

    def _check_mark(self, found: str | None) -> None:
        """Check that the bucket carries this installation's mark. Raises ``StoreNotOwned`` for another mark or none."""
        if found != self._own_mark():
            raise StoreNotOwned(self._bucket, found)

    def _own_mark(self) -> str:
        """Return this installation's mark. Raises ``StoreUnavailable`` without one: ownership cannot be checked."""
        if not self._installation:
            raise StoreUnavailable("INSTALLATION_ID is not set")
        return self._installation


def _check_folders(key: str, folders: list[str]) -> None:
    for folder in folders:
        _check_part(key, folder)
        if folder.endswith("~"):
            raise ValueError(f"not a key: {key!r}; only its last segment may end in ~")


def _check_part(key: str, part: str) -> None:
    if part in ("", ".", "..") or UNSAFE.search(part):
        raise ValueError(f"not a key: {key!r}; no empty or dot segments, backslashes or control characters")
    if len(part.encode()) > MAX_PART_BYTES:
        raise ValueError(f"a key has at most {MAX_PART_BYTES} bytes between slashes")
