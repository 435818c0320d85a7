"""Checks of a container before any decoder reads it: its length, and whether it is encrypted.

Sources: ISO/IEC 14496-12 (boxes) and 23001-7 (common encryption), RFC 8794 and 9559 (EBML, Matroska), Microsoft's RIFF.
"""

from collections.abc import Iterator

from deeplens.formats.errors import VideoCorrupt, VideoEncrypted, VideoTruncated
from deeplens.formats.videos import VideoType
from deeplens.videos.decoding.ranged import RangedFile

MAX_BOXES = 64
"""Boxes that are read in the top level; a fragmented file has thousands, and the first are enough."""
MAX_INDEX_BYTES = 128 << 20
TO_SAMPLES = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
ENCRYPTED = {b"encv", b"drmi"}
"""Sample entries of encrypted video: common encryption, and FairPlay's."""
SEGMENT, UNKNOWN_SIZE = 0x18538067, -1


def check_container(file: RangedFile, kind: VideoType) -> None:
    """Check what can be checked without decoding.

    Raises
    ------
    VideoTruncated, VideoEncrypted, VideoCorrupt
    """
    match kind.demuxer:
        case "mov":
            _check_boxes(file)
        case "matroska":
            _check_length(file, _matroska_length(file.peek(0, 4096)))
        case "avi":
            _check_length(file, 8 + int.from_bytes(file.peek(4, 4), "little"))


def _check_length(file: RangedFile, length: int | None) -> None:
    if length is not None and length > file.size_bytes:
        raise VideoTruncated(f"the file ends after {file.size_bytes} of {length} bytes")


def _check_boxes(file: RangedFile) -> None:
    """Walk the top level: the index has to be there, and the last box has to end where the file does."""
    position, index = 0, False
    for _ in range(MAX_BOXES):
        if position >= file.size_bytes:
            break
        header = file.peek(position, 16)
        kind, length = header[4:8], _box_length(header, file.size_bytes - position)
        _check_length(file, position + length)
        if kind == b"moov":
            index = True
            if length > MAX_INDEX_BYTES:
                raise VideoCorrupt(f"the file's index has {length} bytes")
            _check_samples(file.peek(position, length)[8:])
        position += length
    if not index and position >= file.size_bytes:
        raise VideoTruncated("the file has no index: it was cut off, or never finished")


def _box_length(header: bytes, rest: int) -> int:
    length = int.from_bytes(header[:4])
    if length == 1:
        length = int.from_bytes(header[8:16])
    if length == 0:
        return rest
    if len(header) < 8 or length < 8:
        raise VideoCorrupt("the file's boxes do not line up")
    return length


def _check_samples(moov: bytes) -> None:
    for entries in _inside(moov, TO_SAMPLES):
        # Version, flags and count come before the entries.
        for kind, _ in _boxes(entries[8:]):
            if kind in ENCRYPTED:
                raise VideoEncrypted("the video is encrypted (DRM); upload it without protection")


def _inside(content: bytes, path: tuple[bytes, ...]) -> Iterator[bytes]:
    """Contents of the boxes that a path of nested ones leads to."""
    for kind, inner in _boxes(content):
        if kind == path[0]:
            yield from [inner] if len(path) == 1 else _inside(inner, path[1:])


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(content):
        header = content[position : position + 16]
        length = _box_length(header, len(content) - position)
        start = 16 if int.from_bytes(header[:4]) == 1 else 8
        yield header[4:8], content[position + start : position + length]
        position += length


def _matroska_length(head: bytes) -> int | None:
    """Where the segment should end; None for a file that does not say, such as a streamed one."""
    position = 0
    while position < len(head):
        kind, position = _vint(head, position, keep_marker=True)
        size, position = _vint(head, position)
        if kind == SEGMENT:
            return None if size == UNKNOWN_SIZE else position + size
        position += max(0, size)
    return None


def _vint(head: bytes, position: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """An EBML number of variable length, and where it ends."""
    if position >= len(head) or not head[position]:
        raise VideoCorrupt("the file's elements do not line up")
    length = 9 - head[position].bit_length()
    value = int.from_bytes(head[position : position + length])
    if not keep_marker:
        value &= (1 << 7 * length) - 1
        if value == (1 << 7 * length) - 1:
            value = UNKNOWN_SIZE
    return value, position + length
