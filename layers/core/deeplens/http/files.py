"""Files in multipart forms."""

from typing import TypedDict

from fastapi import UploadFile

from deeplens.errors import FileTooLarge


class FormLimits(TypedDict, total=False):
    """Limits of a multipart form; FastAPI's type is private."""

    max_fields: int
    max_files: int
    max_part_size: int


def form_of(files: int) -> FormLimits:
    """The limits of a form with so many files."""
    return {"max_files": files, "max_fields": 100, "max_part_size": 64 * 1024}


def body_of(file: UploadFile, max_bytes: int) -> bytes:
    """The file's bytes. Raises ``FileTooLarge`` beyond ``max_bytes``."""
    body = file.file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise FileTooLarge(f"the file is larger than {max_bytes} bytes, the limit of one request; use POST /v1/uploads")
    return body
