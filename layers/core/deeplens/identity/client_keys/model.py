"""The public keys of clients: data, and which keys are accepted."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
MAX_ASSERTION_LIFE = timedelta(minutes=5)
LEEWAY = timedelta(seconds=30)
MAX_KEYS = 10
PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
CURVES = {"EC": {"P-256"}, "OKP": {"Ed25519"}}
MIN_RSA_BYTES, MAX_RSA_BYTES = 256, 1024


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """The public keys of a client: a set, or the address of one."""

    client_id: str
    jwks: Mapping[str, Any] | None
    jwks_uri: str | None


def fault_of_keys(jwks: Mapping[str, Any]) -> str:
    """What is wrong with a client's key set; empty if it is accepted."""
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        return f"The key set needs a list `keys` of 1 to {MAX_KEYS} keys."
    faults = (_fault_of_key(key) if isinstance(key, dict) else "Each key is a JSON object." for key in keys)
    return next(filter(None, faults), "")


def _fault_of_key(key: Mapping[str, Any]) -> str:
    if PRIVATE_PARTS & key.keys():
        return "The key set holds a private or a shared key. Send the public halves only, and replace that key."
    kind = key.get("kty")
    if kind == "RSA":
        accepted = MIN_RSA_BYTES <= _modulus_bytes(key) <= MAX_RSA_BYTES
        return "" if accepted else "An RSA key needs 2048 to 8192 bits."
    if kind in CURVES and key.get("crv") in CURVES[kind]:
        return ""
    return "A key is RSA, EC on P-256, or OKP on Ed25519."


def _modulus_bytes(key: Mapping[str, Any]) -> int:
    try:
        return len(base64.urlsafe_b64decode(f"{key.get('n')}===").lstrip(b"\0"))
    except ValueError:
        return 0
