"""How often a file would be decoded: frames and scans, counted without decoding and never far beyond a limit."""

import re
from struct import error as StructError
from struct import unpack_from

IMAGE, EXTENSION, TRAILER = b",!;"
NEXT_BLOCK = re.compile(rb"[,!;]")
SCAN = b"\xff\xda"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A JPEG marker among entropy-coded bytes, where 0xFF is otherwise stuffed, a restart or a fill byte."""
END_OF_IMAGE, START_OF_SCAN, WITHOUT_LENGTH = 0xD9, 0xDA, (0x01, 0xD8)


def gif_frames(body: bytes, most: int) -> int:
    """Frames of a GIF, at most one more than ``most``. Pillow would decode each frame on its way to the next."""
    count, position = 0, 13 + _colour_table_bytes(body, 10)
    while count <= most and position < len(body) and body[position] != TRAILER:
        if body[position] == IMAGE:
            count += 1
            position = _after_blocks(body, position + 11 + _colour_table_bytes(body, position + 9))
        elif body[position] == EXTENSION:
            position = _after_blocks(body, position + 2)
        else:
            found = NEXT_BLOCK.search(body, position)
            position = found.start() if found else len(body)
    return count


def tiff_pages(body: bytes, most: int) -> int:
    """Pages of a TIFF or BigTIFF, at most one more than ``most``, by the offsets of their directories."""
    order, big = "<" if body[:2] == b"II" else ">", 43 in body[2:4]
    count_code, count_bytes, entry_bytes, offset_code = ("Q", 8, 20, "Q") if big else ("H", 2, 12, "I")
    position, starts = 8 if big else 4, set[int]()
    try:
        while len(starts) <= most:
            (start,) = unpack_from(order + offset_code, body, position)
            if not start or start in starts:
                break
            (entries,) = unpack_from(order + count_code, body, start)
            starts.add(start)
            position = start + count_bytes + entries * entry_bytes
    except (StructError, OverflowError):
        # The chain leads out of the file: what was seen is all there is.
        return len(starts)
    return len(starts)


def jpeg_scans(body: bytes, most: int) -> int:
    """Scans of a JPEG, at most one more than ``most``; each costs a pass over the whole image.

    Cameras write one, progressive encoders about ten; a bomb writes thousands, a few bytes each.
    """
    count = body.count(SCAN)
    if count <= most:
        return count
    # Embedded thumbnails and what phones append, such as video, hold those two bytes as well: look closer.
    count, position = 0, 2
    while count <= most and (found := MARKER.search(body, position)):
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
    """The position after a chain of sub-blocks, each led by its length and the last one empty."""
    while position < len(body) and body[position]:
        position += body[position] + 1
    return position + 1
