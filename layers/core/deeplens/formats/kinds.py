"""What a file is, by its first bytes: an image, a video, or neither."""

from typing import Literal

from deeplens.errors import InvalidImage
from deeplens.formats.images import sniff

type Kind = Literal["image", "video", "other"]
HEAD_BYTES = 4096
"""What a decision takes at the most."""
AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
VIDEO_MAGIC = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG elementary stream
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
)
MPEG_TS_PACKET = 188


def kind_of(head: bytes) -> Kind:
    """The kind of file that begins with ``head``; no name and no declared type counts."""
    try:
        sniff(head)
    except InvalidImage:
        return "video" if _is_video(head) else "other"
    return "image"


def _is_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in AUDIO_BRANDS
    if head[4:8] in (b"moov", b"mdat", b"wide"):  # QuickTime before it had brands
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if len(head) > 2 * MPEG_TS_PACKET and head[0] == head[MPEG_TS_PACKET] == head[2 * MPEG_TS_PACKET] == 0x47:
        return True
    return head.startswith(VIDEO_MAGIC)
