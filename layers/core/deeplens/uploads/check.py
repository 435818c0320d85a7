"""Copying an uploaded file to where no client can write, and checking the copy."""

import hashlib
from dataclasses import dataclass

from deeplens.errors import ChecksumMismatch, FileTooLarge, TransientError
from deeplens.formats.images import FileType, sniff
from deeplens.formats.kinds import HEAD_BYTES
from deeplens.images.keys import original_key
from deeplens.imaging import Limits, inspect
from deeplens.storage.ports import ObjectStore
from deeplens.uploads.model import DirectUpload


@dataclass(frozen=True, slots=True)
class Original:
    """A checked file at ``key``, where it stays; ``width`` and ``height`` in pixels, by its header."""

    key: str
    type: FileType
    size_bytes: int
    sha256: str
    width: int
    height: int


class CheckUpload:
    """Copy first, check the copy: whatever a client writes in the meantime, what was checked is what is kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __call__(self, store: ObjectStore, upload: DirectUpload) -> Original:
        """The copy of an upload, below ``images/``.

        Raises
        ------
        ObjectNotFound
            There is no such object (any more).
        InvalidImage
            The file is larger than declared, has another digest, or is none that is taken.
        TransientError
            Another file took its place meanwhile.
        """
        within(size := store.head(upload.key).size_bytes, upload)
        if size > self._limits.max_bytes:
            raise FileTooLarge(f"{size} bytes arrived; at most {self._limits.max_bytes} are taken of an image")
        found = sniff(head_of(store, upload.key))
        key = original_key(upload.image_id, found.extension)
        store.copy(upload.key, key, found.mime_type)
        body = store.get(key)
        within(len(body), upload)
        digest = hashlib.sha256(body).hexdigest()
        if upload.sha256 not in (None, digest):
            raise ChecksumMismatch(f"the SHA-256 of what arrived is {digest}, not {upload.sha256}")
        header = inspect(body, self._limits)
        if header.type != found:
            raise TransientError("another file took its place while it was read")
        return Original(key, header.type, len(body), digest, header.width, header.height)


def within(size_bytes: int, upload: DirectUpload) -> None:
    """Raise ``FileTooLarge`` where more arrived than was declared."""
    if size_bytes > upload.size_bytes:
        raise FileTooLarge(f"{size_bytes} bytes arrived, {upload.size_bytes} were declared")


def head_of(store: ObjectStore, key: str) -> bytes:
    """Enough of an object to tell what it is."""
    return next(iter(store.stream(key, HEAD_BYTES)), b"")
