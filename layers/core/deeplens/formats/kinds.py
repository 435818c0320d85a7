"""Detect whether a file is an image, a video or neither, by its first bytes."""

from typing import Literal

from deeplens.errors import EmptyFile, InvalidImage
from deeplens.formats.errors import VideoFormatUnsupported
from deeplens.formats.images import sniff
from deeplens.formats.videos import sniff_video

type Kind = Literal["image", "video", "other"]
HEAD_BYTES = 4096
"""Bytes of a file that the detection reads at most."""
AUDIO_BRANDS = (b"ftypM4A ", b"ftypM4B ", b"ftypM4P ")
UNSUPPORTED_VIDEO_MAGIC = (
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG elementary stream
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
)


def kind_of(head: bytes) -> Kind:
    """Return the kind of a file that begins with ``head``, ignoring its name and declared type."""
    try:
        sniff(head)
    except InvalidImage:
        return "video" if _is_video(head) else "other"
    return "image"


def _is_video(head: bytes) -> bool:
    """Return whether the file is a video, also in a format that is not accepted."""
    if head.startswith(AUDIO_BRANDS, 4):
        return False
    try:
        sniff_video(head)
    except (EmptyFile, VideoFormatUnsupported):
        return head.startswith(UNSUPPORTED_VIDEO_MAGIC)
    return True
