"""The file of a request: its bytes and the limits it has to keep."""

from typing import TYPE_CHECKING

from fastapi import UploadFile

from deeplens.errors import FileTooLarge
from deeplens.settings import Settings

if TYPE_CHECKING:
    from deeplens.imaging import Limits


def body_of(file: UploadFile, settings: Settings) -> bytes:
    """The file's bytes. Raises ``FileTooLarge`` beyond ``max_upload_bytes``."""
    body = file.file.read(settings.max_upload_bytes + 1)
    if len(body) > settings.max_upload_bytes:
        raise FileTooLarge(f"the file is larger than {settings.max_upload_bytes} bytes, the most a request can carry")
    return body


def limits_of(settings: Settings) -> "Limits":
    # Pillow is imported with the first image, not with the first request.
    from deeplens.imaging import Limits

    return Limits(settings.max_image_bytes, settings.max_image_pixels, settings.max_image_frames)
