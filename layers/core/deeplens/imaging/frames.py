"""Count frames and scans of a file without decoding it, and at most one more than a limit."""

import re
from contextlib import suppress
from struct import error as StructError
from struct import unpack_from

IMAGE, EXTENSION, TRAILER = b",!;"
NEXT_BLOCK = re.compile(rb"[,!;]")
SCAN = b"\xff\xda"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A JPEG marker among entropy-coded bytes, where any other 0xFF is stuffed, a restart or a fill byte."""
END_OF_IMAGE, START_OF_SCAN, WITHOUT_LENGTH = 0xD9, 0xDA, (0x01, 0xD8)


def gif_frames(body: bytes, limit: int) -> int:
    """Count the frames of a GIF, up to ``limit`` + 1; Pillow would decode every frame."""
    count, position = 0, 13 + _colour_table_bytes(body, 10)
    while count <= limit and position < len(body) and body[position] != TRAILER:
        if body[position] == IMAGE:
            count += 1
            position = _after_blocks(body, position + 11 + _colour_table_bytes(body, position + 9))
        elif body[position] == EXTENSION:
            position = _after_blocks(body, position + 2)
        else:
            found = NEXT_BLOCK.search(body, position)
            position = found.start() if found else len(body)
    return count


def tiff_pages(body: bytes, limit: int) -> int:
    """Count the pages of a TIFF or BigTIFF, up to ``limit`` + 1, by the offsets of their directories."""
    order, big = "<" if body[:2] == b"II" else ">", 43 in body[2:4]
    count_code, count_bytes, entry_bytes, offset_code = ("Q", 8, 20, "Q") if big else ("H", 2, 12, "I")
    position, starts = 8 if big else 4, set[int]()
    # A chain of offsets that leaves the file ends the pages.
    with suppress(StructError, OverflowError):
        while len(starts) <= limit:
            (start,) = unpack_from(order + offset_code, body, position)
            if not start or start in starts:
                break
            (entries,) = unpack_from(order + count_code, body, start)
            starts.add(start)
            position = start + count_bytes + entries * entry_bytes
    return len(starts)


def jpeg_scans(body: bytes, limit: int) -> int:
    """Count the scans of a JPEG, up to ``limit`` + 1; each costs a pass over the whole image.

    Cameras write one and progressive encoders about ten; a decompression bomb has thousands of a few bytes each.
    """
    count = body.count(SCAN)
    if count <= limit:
        return count
    # Embedded thumbnails and appended videos contain these two bytes as well, so parse the markers.
    count, position = 0, 2
    while count <= limit and (found := MARKER.search(body, position)):
        kind, position = body[found.end() - 1], found.end()
        if kind == END_OF_IMAGE:
            break
        count += kind == START_OF_SCAN
        if kind not in WITHOUT_LENGTH:
            position += int.from_bytes(body[position : position + 2])
    return count


def _colour_table_bytes(body: bytes, flags_at: int) -> int:
    flags = body[flags_at] if flags_at < len(body) else 0
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(body: bytes, position: int) -> int:
    """Return the position after a chain of sub-blocks; each begins with its length, and the last is empty."""
    while position < len(body) and body[position]:
        position += body[position] + 1
    return position + 1
