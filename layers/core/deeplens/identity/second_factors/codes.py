"""Codes of authenticator apps (RFC 6238) and recovery codes."""

import base64
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from hmac import compare_digest

from deeplens.access.api_keys import digest

STEP_SECONDS = 30
CODE = re.compile(r"[0-9]{6}")
ISSUER_NAME = "DeepLens"
RECOVERY_CODES = 10
ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"
"""Without characters that look alike."""
GROUPS, GROUP_CHARACTERS = 4, 4
"""Sixteen of thirty characters: 78 bits, so that a plain hash suffices as for API keys."""


def secret_of(derive: Callable[[str, str], str], user_id: str, enrolment: bytes) -> str:
    """The secret that the app and DeepLens share, 160 bits in base32.

    It derives from the platform's key, so that no copy of the database reveals it.
    """
    derived = derive("authenticator", f"{user_id}\0{enrolment.hex()}")
    return base64.b32encode(base64.urlsafe_b64decode(f"{derived}=")[:20]).decode()


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The time step that a code belongs to: the present one, or one of its neighbours, as clocks differ."""
    from pyotp import TOTP  # signing in by password alone does not need it

    totp, present = TOTP(secret, interval=STEP_SECONDS), int(now.timestamp()) // STEP_SECONDS
    sent = "".join(code.split())
    if not CODE.fullmatch(sent):
        return None
    matching = [step for step in (present - 1, present, present + 1) if compare_digest(totp.generate_otp(step), sent)]
    return max(matching, default=None)


def provisioning_uri(secret: str, email: str) -> str:
    """The address that an app reads from the QR code."""
    from pyotp import TOTP

    return TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=email, issuer_name=ISSUER_NAME)


def qr_code(text: str) -> str:
    """The text as an SVG element."""
    import segno

    return segno.make(text, error="m").svg_inline(scale=4, border=4, light="white", dark="black", omitsize=True)


def new_recovery_codes() -> list[str]:
    return [
        "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_CHARACTERS)) for _ in range(GROUPS))
        for _ in range(RECOVERY_CODES)
    ]


def recovery_digest(user_id: str, code: str) -> bytes:
    """What is stored of a recovery code; spaces, hyphens and capitals do not matter."""
    plain = "".join(character for character in code.lower() if character.isalnum())
    return digest(f"recovery\0{user_id}\0{plain}")
