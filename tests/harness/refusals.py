"""What a refusal looks like."""

import base64
import json
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

EVIL = "https://evil.test"


def refused(answer: httpx.Response, error: str, *statuses: int) -> bool:
    """Whether it is OAuth's answer with this error, that nobody may keep."""
    assert answer.status_code in (statuses or (400, 401)), f"{answer.status_code} {answer.text}"
    assert "no-store" in answer.headers["cache-control"]
    assert "Traceback" not in answer.text
    return bool(answer.json()["error"] == error)


def page_of(answer: httpx.Response, status: int = 400) -> str:
    """The text of a page that says no, and sends nobody anywhere."""
    assert answer.status_code == status, f"{answer.status_code} {answer.headers.get('location')} {answer.text}"
    assert "location" not in answer.headers
    assert "Traceback" not in answer.text
    return answer.text


def forged(token: str, **changed: Any) -> list[str]:
    """The token again as attackers sign it: not at all, with the public key, with a key of their own."""
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changed}
    header = jwt.get_unverified_header(token)
    unsigned = [
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({**header, "alg": algorithm}, claims)
        )
        + "."
        for algorithm in ("none", "NONE", "RS256")
    ]
    shared = jwt.encode(claims, "k" * 64, "HS256", {**header, "alg": "HS256"})
    return [*unsigned, jwt.encode(claims, _attackers_key(), "RS256", header), shared]


@cache
def _attackers_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)
