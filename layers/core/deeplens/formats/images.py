"""Detect image formats by the first bytes; names and declared types are only hints."""

from dataclasses import dataclass

from deeplens.errors import EmptyFile, UnsupportedFormat


@dataclass(frozen=True, slots=True)
class FileType:
    """``format`` is Pillow's name; ``extension`` has its dot."""

    format: str
    mime_type: str
    extension: str


JPEG = FileType("JPEG", "image/jpeg", ".jpg")
PNG = FileType("PNG", "image/png", ".png")
GIF = FileType("GIF", "image/gif", ".gif")
TIFF = FileType("TIFF", "image/tiff", ".tif")
BMP = FileType("BMP", "image/bmp", ".bmp")
WEBP = FileType("WEBP", "image/webp", ".webp")
HEIC = FileType("HEIF", "image/heic", ".heic")
AVIF = FileType("AVIF", "image/avif", ".avif")

MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
)
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Valid sizes of the header after a BMP's first 14 bytes; ``BM`` alone may begin a text."""
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
}
OTHERS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "XML"),
    (b"<", "markup"),
    (b"RIFF", "a RIFF file"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"ID3", "an MP3 file"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
)
ACCEPTED = "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC and AVIF"


def sniff(body: bytes) -> FileType:
    """Return the type of an image file.

    Raises
    ------
    EmptyFile
    UnsupportedFormat
        The message names the detected format and the accepted ones.
    """
    if not body:
        raise EmptyFile("the file is empty")
    head = body[:64]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return BMP
    for magic, found in MAGIC:
        if head.startswith(magic):
            return found
    raise UnsupportedFormat(f"this looks like {_describe(head)}; accepted are {ACCEPTED}")


def _by_brand(head: bytes) -> FileType:
    """Return the type by the brand of an ISO media file, or by its compatible brands."""
    end = min(len(head), int.from_bytes(head[:4]))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]
    known = [BRANDS[brand] for brand in brands if brand in BRANDS]
    if not known:
        raise UnsupportedFormat(f"this looks like a video or audio file; accepted are {ACCEPTED}")
    return AVIF if AVIF in known else known[0]


def _describe(head: bytes) -> str:
    for magic, name in OTHERS:
        if head.lstrip().startswith(magic):
            return name
    # Only the last character may be incomplete in a text.
    text = head.decode(errors="ignore").encode()
    readable = len(head) - len(text) < 4 and all(byte >= 32 or byte in b"\t\r\n" for byte in text)
    return "text" if readable else "an unknown binary file"
