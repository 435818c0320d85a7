"""The ceremonies of WebAuthn: register a passkey, and sign in with one.

The library is imported when a ceremony begins, as signing in by password does not need it.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import from_json

from deeplens.common.ports import Clock
from deeplens.identity.model import Issuer, User
from deeplens.identity.second_factors.model import Passkey
from deeplens.identity.second_factors.ports import SecondFactors
from deeplens.telemetry.security import security_event

MAX_ANSWER_CHARACTERS = 16 * 1024
RP_NAME = "DeepLens"
TRANSPORTS = ("usb", "nfc", "ble", "smart-card", "internal", "cable", "hybrid")


class Passkeys:
    """Creates what a browser asks its authenticator, and checks the answers. Answers are the browser's JSON."""

    def __init__(self, factors: SecondFactors, issuer: Issuer, clock: Clock) -> None:
        parts = urlsplit(issuer)
        self._factors, self._clock = factors, clock
        self._rp_id, self._origin = parts.hostname or "", f"{parts.scheme}://{parts.netloc}"

    def registration(self, user: User, challenge: bytes) -> str:
        """Options for ``navigator.credentials.create``; authenticators that the user has already do not answer."""
        import webauthn
        from webauthn.helpers import structs

        return webauthn.options_to_json(
            webauthn.generate_registration_options(
                rp_id=self._rp_id,
                rp_name=RP_NAME,
                user_id=user.id.encode(),
                user_name=user.email,
                user_display_name=user.name or user.email,
                challenge=challenge,
                authenticator_selection=structs.AuthenticatorSelectionCriteria(
                    resident_key=structs.ResidentKeyRequirement.PREFERRED,
                    user_verification=structs.UserVerificationRequirement.PREFERRED,
                ),
                exclude_credentials=_descriptors(self._factors.passkeys(user.id)),
            )
        )

    def register(self, user: User, name: str, answer: str, challenge: bytes) -> bool:
        """Store the passkey of an answer. Returns False if the answer is invalid, or the passkey is registered."""
        import webauthn

        try:
            credential = webauthn.helpers.parse_registration_credential_json(_parsed(answer))
            verified = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
            )
        except Exception:
            return False
        transports = tuple(str(transport.value) for transport in credential.response.transports or ())
        return self._factors.add_passkey(
            Passkey(
                verified.credential_id,
                user.id,
                name,
                verified.credential_public_key,
                verified.sign_count,
                tuple(name for name in transports if name in TRANSPORTS),
                self._clock.now(),
            )
        )

    def assertion(self, challenge: bytes, user: User | None = None) -> str:
        """Options for ``navigator.credentials.get``: with one of the user's passkeys; without a user with any passkey
        that says by itself whose it is, and that verifies its user."""
        import webauthn
        from webauthn.helpers.structs import UserVerificationRequirement

        return webauthn.options_to_json(
            webauthn.generate_authentication_options(
                rp_id=self._rp_id,
                challenge=challenge,
                allow_credentials=_descriptors(self._factors.passkeys(user.id)) if user else None,
                user_verification=UserVerificationRequirement.PREFERRED
                if user
                else UserVerificationRequirement.REQUIRED,
            )
        )

    def check(self, answer: str, challenge: bytes, user: User | None = None) -> str | None:
        """The id of the user whose passkey answered the challenge, or None.

        Parameters
        ----------
        user : whose passkey it has to be; without one, the passkey must have verified its user.
        """
        passkey, sign_count = self._verified(answer, challenge, user) or (None, 0)
        if passkey is None:
            security_event("second_factor_failed", user_id=user.id if user else None, method="passkey")
            return None
        if not self._factors.use_passkey(passkey.id, sign_count, self._clock.now()):
            security_event("passkey_copied", user_id=passkey.user_id)
            return None
        security_event("second_factor_passed", user_id=passkey.user_id, method="passkey")
        return passkey.user_id

    def _verified(self, answer: str, challenge: bytes, user: User | None) -> tuple[Passkey, int] | None:
        """The passkey of a valid answer, and the authenticator's counter."""
        import webauthn

        try:
            credential = webauthn.helpers.parse_authentication_credential_json(_parsed(answer))
        except Exception:
            return None
        passkey = self._factors.passkey(credential.raw_id)
        if passkey is None or not _belongs(passkey, credential.response.user_handle, user):
            return None
        try:
            verified = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=passkey.public_key,
                # The counter is compared in the statement that stores it, and only of verified answers.
                credential_current_sign_count=0,
                require_user_verification=user is None,
            )
        except Exception:
            return None
        return passkey, verified.new_sign_count


def _parsed(answer: str) -> dict[str, Any]:
    """The browser's JSON. Raises ``ValueError``."""
    parsed = from_json(answer[:MAX_ANSWER_CHARACTERS])
    if not isinstance(parsed, dict):
        raise ValueError("the answer is no object")
    return parsed


def _belongs(passkey: Passkey, user_handle: bytes | None, user: User | None) -> bool:
    """Whether a passkey is this user's; without a user, it has to say whose it is."""
    expected = user.id if user else passkey.user_id
    handle_matches = user_handle == expected.encode() if user_handle or user is None else True
    return passkey.user_id == expected and handle_matches


def _descriptors(passkeys: Sequence[Passkey]) -> list[Any]:
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    return [
        PublicKeyCredentialDescriptor(
            id=passkey.id, transports=[AuthenticatorTransport(name) for name in passkey.transports] or None
        )
        for passkey in passkeys
    ]
