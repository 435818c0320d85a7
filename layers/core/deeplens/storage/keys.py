"""Object keys and URIs: what may be a key, and which URI belongs to a bucket."""

from urllib.parse import quote, unquote, urlsplit

from deeplens.errors import InvalidEvent

MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 255


def checked(key: str) -> str:
    """``key`` itself. Raises ``ValueError`` for one that is empty, too long, or could climb out of its bucket."""
    parts = key.split("/")
    if not key or len(key.encode()) > MAX_KEY_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise ValueError("a key has 1 to 1,024 bytes, 255 between slashes")
    if any(part in ("", ".", "..") for part in parts) or "\x00" in key or "\\" in key:
        raise ValueError(f"not a key: {key!r}; no leading slash, empty or dot segment, backslash or NUL")
    return key


def uri_of(root: str, key: str) -> str:
    """``s3://bucket`` and ``a b`` give ``s3://bucket/a%20b``."""
    return f"{root}/{quote(checked(key))}"


def key_in(root: str, uri: str) -> str:
    """The key of a URI below ``root``. Raises ``InvalidEvent`` for any other bucket or scheme, or a climbing path."""
    expected, given = urlsplit(root), urlsplit(uri)
    if (given.scheme, given.netloc) != (expected.scheme, expected.netloc):
        raise InvalidEvent("the storage path lies outside the tenant's store")
    try:
        return checked(unquote(given.path.removeprefix("/")))
    except ValueError as error:
        raise InvalidEvent(f"the storage path is not usable: {error}") from error
