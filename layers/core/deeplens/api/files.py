"""The file of a request: its bytes, within what a request can carry."""

from typing import TypedDict

from fastapi import UploadFile

from deeplens.errors import FileTooLarge
from deeplens.settings import Settings


class FormLimits(TypedDict, total=False):
    """Of a multipart form; FastAPI's own type is private."""

    max_fields: int
    max_files: int
    max_part_size: int


def form_of(files: int) -> FormLimits:
    """Limits of a form with as many files."""
    return {"max_files": files, "max_fields": 100, "max_part_size": 64 * 1024}


def body_of(file: UploadFile, settings: Settings) -> bytes:
    """The file's bytes. Raises ``FileTooLarge`` beyond ``max_upload_bytes``."""
    body = file.file.read(settings.max_upload_bytes + 1)
    if len(body) > settings.max_upload_bytes:
        raise FileTooLarge(f"the file is larger than {settings.max_upload_bytes} bytes, the most a request can carry")
    return body
