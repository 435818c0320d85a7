"""Object keys and URIs: what may be a key, and which URI belongs to a bucket."""

import re
from urllib.parse import quote, unquote

from deeplens.errors import InvalidEvent, StoreNotOwned, StoreUnavailable

MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 254
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\ufffe\uffff]")
"""What no file system or XML answer carries unharmed."""
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def checked(key: str) -> str:
    """``key`` itself.

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
    """``prefix`` itself. Raises ``ValueError`` when no key can begin with it."""
    *folders, start = prefix.split("/")
    _check_folders(prefix, folders)
    if UNSAFE.search(start):
        raise ValueError(f"not a prefix of keys: {prefix!r}")
    return prefix


def is_key(key: str) -> bool:
    """Whether ``checked`` lets it pass; a tenant's own store may have others."""
    try:
        checked(key)
    except ValueError:
        return False
    return True


def check_mark(bucket: str, found: str | None, installation: str) -> None:
    """Check that a bucket carries this installation's mark.

    Raises
    ------
    StoreNotOwned
        It carries another one, or none.
    StoreUnavailable
        ``INSTALLATION_ID`` is not set, so that no bucket can be told from another installation's.
    """
    if found != required(installation):
        raise StoreNotOwned(bucket, found)


def required(installation: str) -> str:
    """``installation`` itself. Raises ``StoreUnavailable`` when it is empty."""
    if not installation:
        raise StoreUnavailable("INSTALLATION_ID is not set")
    return installation


def uri_of(root: str, key: str) -> str:
    """``s3://bucket`` and ``a b`` give ``s3://bucket/a%20b``."""
    return f"{root}/{quote(checked(key))}"


def key_in(root: str, uri: str) -> str:
    """The key of a URI below ``root``. Raises ``InvalidEvent`` for any other bucket or scheme, or a climbing path."""
    if not uri.startswith(f"{root}/"):
        raise InvalidEvent("the storage path lies outside the tenant's store")
    try:
        return checked(unquote(uri.removeprefix(f"{root}/"), errors="strict"))
    except ValueError as error:
        raise InvalidEvent(f"the storage path is not usable: {error}") from error


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


STORE_PREFIX = "sto_"
"""Buckets' names hold no underscore, so that no bucket is ever taken for a registered store."""


def store_id_of(uri: str) -> str | None:
    """The registered store that a URI lies in; None for every other bucket."""
    authority = uri.partition("://")[2].partition("/")[0]
    return authority if authority.startswith(STORE_PREFIX) else None
