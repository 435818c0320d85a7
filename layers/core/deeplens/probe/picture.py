"""A picture made by code, which no other picture resembles."""

import secrets
import zlib
from struct import pack

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CELLS, CELL_PIXELS = 8, 32


def new_picture() -> bytes:
    """A PNG file of random coloured squares, 256 × 256 pixels. Pillow would need a layer of its own."""
    side = CELLS * CELL_PIXELS
    rows = bytearray()
    for _ in range(CELLS):
        row = b"".join(secrets.token_bytes(3) * CELL_PIXELS for _ in range(CELLS))
        # Each row begins with its filter: none.
        rows += (b"\0" + row) * CELL_PIXELS
    header = pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))
