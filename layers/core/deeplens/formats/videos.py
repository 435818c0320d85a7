"""Detect by the first bytes whether a file is a video, and its container; names and declared types are only hints."""

from dataclasses import dataclass
from typing import Literal

from deeplens.errors import EmptyFile, InvalidImage
from deeplens.formats.errors import VideoFormatUnsupported
from deeplens.formats.images import BRANDS, sniff

type Kind = Literal["image", "video", "other"]
HEAD_BYTES = 4096
"""Bytes of a file that the detection of images and videos reads at most."""


@dataclass(frozen=True, slots=True)
class VideoType:
    """``demuxer`` is FFmpeg's name; ``extension`` has its dot."""

    container: str
    demuxer: str
    mime_type: str
    extension: str


MP4 = VideoType("mp4", "mov", "video/mp4", ".mp4")
QUICKTIME = VideoType("mov", "mov", "video/quicktime", ".mov")
WEBM = VideoType("webm", "matroska", "video/webm", ".webm")
MATROSKA = VideoType("mkv", "matroska", "video/x-matroska", ".mkv")
AVI = VideoType("avi", "avi", "video/x-msvideo", ".avi")
MPEG_TS = VideoType("ts", "mpegts", "video/mp2t", ".ts")
BY_EXTENSION = {
    **{kind.extension: kind for kind in (MP4, QUICKTIME, WEBM, MATROSKA, AVI)},
    ".m4v": MP4,
    ".m2ts": MPEG_TS,
    ".mts": MPEG_TS,
}
"""Without ``.ts``, as most such files are TypeScript."""

QUICKTIME_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
"""First atoms of QuickTime files without a brand."""
EBML, TS_PACKET = b"\x1aE\xdf\xa3", 188
AUDIO_BRANDS = (b"ftypM4A ", b"ftypM4B ", b"ftypM4P ")
UNSUPPORTED_VIDEO_MAGIC = (
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG elementary stream
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
)
ACCEPTED = "MP4, QuickTime, WebM, Matroska, AVI and MPEG-TS"


def type_by_name(name: str) -> VideoType | None:
    """Return the type by a file's extension."""
    return BY_EXTENSION.get("." + name.rpartition(".")[2].lower())


def sniff_video(head: bytes) -> VideoType:
    """Return the type of a video file by its first ``HEAD_BYTES``.

    Raises
    ------
    EmptyFile
    VideoFormatUnsupported
        Also for playlists and other files that refer to files, which FFmpeg would open.
    """
    if not head:
        raise EmptyFile("the file is empty")
    if head[4:8] == b"ftyp" and head[8:12] not in BRANDS:
        return QUICKTIME if head[8:12] == b"qt  " else MP4
    if head[4:8] in QUICKTIME_ATOMS:
        return QUICKTIME
    if head.startswith(EBML):
        return WEBM if b"webm" in head[:64] else MATROSKA
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if len(head) > 2 * TS_PACKET and {head[0], head[TS_PACKET], head[2 * TS_PACKET]} == {0x47}:
        return MPEG_TS
    raise VideoFormatUnsupported(f"this is not a video in an accepted format; accepted are {ACCEPTED}")


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
