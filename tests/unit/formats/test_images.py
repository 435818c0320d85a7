import struct

import pytest
from deeplens.errors import EmptyFile, UnsupportedFormat
from deeplens.formats.images import sniff

from tests.harness.pictures import file_of, scene


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = major + b"\0\0\0\0" + b"".join(compatible)
    return struct.pack(">I", len(body) + 8) + b"ftyp" + body


@pytest.mark.parametrize(
    ("image_format", "mime_type", "extension"),
    [
        ("JPEG", "image/jpeg", ".jpg"),
        ("PNG", "image/png", ".png"),
        ("WEBP", "image/webp", ".webp"),
        ("GIF", "image/gif", ".gif"),
        ("TIFF", "image/tiff", ".tif"),
        ("BMP", "image/bmp", ".bmp"),
        ("HEIF", "image/heic", ".heic"),
        ("AVIF", "image/avif", ".avif"),
    ],
)
def test_a_type_is_told_by_the_first_bytes(image_format: str, mime_type: str, extension: str) -> None:
    image_type = sniff(file_of(scene(20, 10), image_format))
    assert (image_type.format, image_type.mime_type, image_type.extension) == (image_format, mime_type, extension)


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (ftyp(b"mif1", b"mif1", b"heic"), "image/heic"),
        (ftyp(b"mif1", b"mif1", b"avif", b"miaf"), "image/avif"),
        (ftyp(b"msf1", b"hevc"), "image/heic"),
        (ftyp(b"avis", b"avif"), "image/avif"),
        (ftyp(b"heix"), "image/heic"),
        (b"MM\x00+\x00\x08\x00\x00", "image/tiff"),
        (b"II+\x00\x08\x00\x00\x00", "image/tiff"),
        (b"GIF87a", "image/gif"),
    ],
)
def test_variants_of_a_format(head: bytes, mime_type: str) -> None:
    assert sniff(head).mime_type == mime_type


@pytest.mark.parametrize(
    ("body", "described"),
    [
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\n  <?xml version='1.0'?>", "XML"),
        (b"<!DOCTYPE html>", "markup"),
        (b"hello, world", "text"),
        ("grüße, 世界".encode(), "text"),
        (("x" * 63 + "ö").encode(), "text"),
        (b"BMW is a company, not a bitmap", "text"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a RIFF file"),
        (ftyp(b"isom", b"mp41"), "a video or audio file"),
        (ftyp(b"isom") + b"heic" * 4, "a video or audio file"),
        (b"8BPS\x00\x01", "a Photoshop file"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\x7fELF\x02", "a program"),
        (b"\x00\x01\x02\x03", "an unknown binary file"),
        (b"\xff\xfe\x80\x81\x82\x83", "an unknown binary file"),
    ],
)
def test_anything_else_is_named_and_refused(body: bytes, described: str) -> None:
    with pytest.raises(UnsupportedFormat, match=f"^this looks like {described}; accepted are JPEG, PNG, .* and AVIF$"):
        sniff(body)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(EmptyFile, match="empty"):
        sniff(b"")
