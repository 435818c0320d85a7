"""Invalid input gets a reason: in the response, or in the failed image if only decoding detects it."""

import struct
import zlib

import pytest

from tests.e2e.conftest import TenantClient, eventually, picture


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that would decode to gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"just text", 415),
        (b"%PDF-1.7 ...", 415),
        (png_that_claims(60_000, 60_000), 422),
        (b"\xff\xd8\xff" + b"\x00" * (5 * 1024 * 1024), 413),
    ],
    ids=["empty", "text", "pdf", "bomb", "large"],
)
def test_what_a_request_shows_is_refused_with_a_problem(client: TenantClient, body: bytes, status: int) -> None:
    answer = client.http.post("/images", files={"file": ("photo.jpg", body)})

    assert answer.status_code == status
    if body[:3] != b"\xff\xd8\xff":
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        assert answer.json()["detail"]


def test_a_file_that_breaks_while_decoding_fails_with_its_reason(client: TenantClient) -> None:
    whole = picture(20, side=900)
    image = client.until_ended(client.upload(whole[: len(whole) // 2]))

    assert image["status"] == "failed"
    assert image["error"]["code"] == "IMAGE_CORRUPT"
    assert image["error"]["retryable"] is False
    eventually(client.pending, lambda count: count == 0)


def test_a_failed_image_leaves_a_dead_letter(client: TenantClient) -> None:
    whole = picture(21, side=900)
    image_id = client.upload(whole[: len(whole) // 2])
    client.until_ended(image_id)
    statement = "SELECT 1 FROM dead_letters WHERE image_id = %s AND error_code = 'IMAGE_CORRUPT' AND source IS NOT NULL"
    eventually(lambda: client.rows(statement, [image_id]))


def test_an_unknown_route_and_a_missing_key_are_problems_too(client: TenantClient) -> None:
    assert client.http.get("/nowhere").headers["content-type"] == "application/problem+json"
    answer = client.http.get("/images", headers={"X-API-Key": "dl_wrong_key"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
