"""What the audit log keeps of a request's body."""

import hashlib
import json

import pytest
from deeplens.access.audited import MAX_DETAIL_BYTES, detail_of


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"", None),
        (b'{"name": "Ada", "password": "x"}', {"name": "Ada", "password": "…"}),
        (b"[1]", [1]),
        (b"not JSON", {"bodyBytes": 8, "bodySha256": hashlib.sha256(b"not JSON").hexdigest()}),
    ],
)
def test_a_small_body_is_kept_without_secrets(raw: bytes, kept: object) -> None:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    assert detail_of(raw, body) == kept


def test_of_a_large_body_size_and_hash_are_kept() -> None:
    body = {"name": "a" * MAX_DETAIL_BYTES}
    raw = json.dumps(body).encode()
    assert detail_of(raw, body) == {"bodyBytes": len(raw), "bodySha256": hashlib.sha256(raw).hexdigest()}
