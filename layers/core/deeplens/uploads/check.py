"""Checks of an uploaded file against what its client declared."""

from deeplens.errors import ChecksumMismatch, FileTooLarge
from deeplens.formats.kinds import HEAD_BYTES
from deeplens.storage.ports import ObjectStore
from deeplens.uploads.model import DirectUpload


def check_size(size_bytes: int, upload: DirectUpload) -> None:
    """Raise ``FileTooLarge`` where more arrived than was declared."""
    if size_bytes > upload.size_bytes:
        raise FileTooLarge(f"{size_bytes} bytes arrived, {upload.size_bytes} were declared")


def check_digest(sha256: str, upload: DirectUpload) -> None:
    """Raise ``ChecksumMismatch`` where another digest was declared."""
    if upload.sha256 not in (None, sha256):
        raise ChecksumMismatch(f"the SHA-256 of what arrived is {sha256}, not {upload.sha256}")


def head_of(store: ObjectStore, key: str) -> bytes:
    """Enough of an object to tell its format."""
    return next(iter(store.stream(key, HEAD_BYTES)), b"")
