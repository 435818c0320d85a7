"""The file of a request: its bytes, within what a request can carry."""

from fastapi import UploadFile

from deeplens.errors import FileTooLarge
from deeplens.settings import Settings


def body_of(file: UploadFile, settings: Settings) -> bytes:
    """The file's bytes. Raises ``FileTooLarge`` beyond ``max_upload_bytes``."""
    body = file.file.read(settings.max_upload_bytes + 1)
    if len(body) > settings.max_upload_bytes:
        raise FileTooLarge(f"the file is larger than {settings.max_upload_bytes} bytes, the most a request can carry")
    return body
