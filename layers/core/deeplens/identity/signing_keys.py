"""The platform's RS256 keys: private halves in the secret store, public halves and times in the database."""

import base64
import hmac
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pydantic_core import from_json

from deeplens.common.event import Event
from deeplens.common.ports import Clock, SecretStore
from deeplens.errors import SecretNotFound
from deeplens.identity.key_plan import Rotation, SigningKey, plan_rotation, signer
from deeplens.identity.ports import Grants, SignInAttempts, StoredKeys
from deeplens.identity.second_factors.ports import PendingSignIns

PREFIX = "deeplens/identity/signing-keys/"
DERIVATION_KEY = f"{PREFIX}derivation"
BITS = 2048
USED_CODE_RETENTION = timedelta(hours=1)
"""How long a used code is kept after it expired, so that a late replay still revokes its family."""


class SigningKeys:
    """Publishes and rotates the signing keys. Raises ``DependencyUnavailable``."""

    def __init__(self, rows: StoredKeys, secret_store: SecretStore, clock: Clock) -> None:
        self._rows, self._secrets, self._clock = rows, secret_store, clock
        self._private: dict[str, str] = {}

    def jwks(self) -> dict[str, Any]:
        """The public keys of all tokens that have not expired, and the next key."""
        published = self._rows.jwks()
        if not published["keys"]:
            self.rotate()
            published = self._rows.jwks()
        return published

    def signer(self) -> tuple[str, str]:
        """The id and the private key (PEM) that sign now; a key is created if there is none or its secret is lost."""
        for _ in range(3):
            # Read each time: a revoked key must not sign once more.
            key = signer(self._rows.all(), self._clock.now())
            if key is not None:
                with suppress(SecretNotFound):
                    return key.kid, self._private_of(key.kid)
                self._rows.mark_lost(key.kid, self._clock.now())
            self.rotate()
        raise SecretNotFound("new signing keys disappear from the secret store")

    def rotate(self) -> Rotation:
        """Create the next key when it is due, and delete keys that are revoked or whose tokens have expired.

        Only one process rotates at a time.
        """
        with self._rows.locked() as rows:
            plan = plan_rotation(rows.all(), self._clock.now())
            if plan.create is not None:
                rows.add(self._new_key(plan.create))
            for kid in plan.forget:
                self._secrets.delete(PREFIX + kid)
                rows.remove(kid)
        return plan

    def _new_key(self, signs_from: datetime) -> SigningKey:
        """Create a key and store its secret before its row: a crash in between leaves an unused secret."""
        kid = secrets.token_urlsafe(12)
        private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self._secrets.put(PREFIX + kid, pem)
        public = from_json(RSAAlgorithm.to_jwk(private.public_key()))
        jwk = {"kty": public["kty"], "n": public["n"], "e": public["e"], "kid": kid, "use": "sig", "alg": "RS256"}
        return SigningKey(kid, jwk, self._clock.now(), signs_from)

    def _private_of(self, kid: str) -> str:
        if kid not in self._private:
            self._private = {kid: self._secrets.get(PREFIX + kid)}
        return self._private[kid]


class DerivationKey:
    """The key that refresh tokens and marks of devices derive from. Raises ``DependencyUnavailable``.

    It is no signing key, so that it stays when these rotate; the first process that needs it creates it.
    """

    def __init__(self, rows: StoredKeys, secret_store: SecretStore) -> None:
        self._rows, self._secrets, self._key = rows, secret_store, b""

    def derive(self, purpose: str, value: str) -> str:
        """Return 43 characters that nobody can compute from the value without the key."""
        self._key = self._key or self._stored_key().encode()
        derived = hmac.digest(self._key, f"{purpose}\0{value}".encode(), "sha256")
        return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()

    def _stored_key(self) -> str:
        with suppress(SecretNotFound):
            return self._secrets.get(DERIVATION_KEY)
        with self._rows.locked():
            with suppress(SecretNotFound):
                return self._secrets.get(DERIVATION_KEY)
            key = secrets.token_urlsafe(32)
            self._secrets.put(DERIVATION_KEY, key)
        return key


class RotateSigningKeys:
    """Rotate the signing keys and delete expired codes, token families, sessions and counts of attempts to sign in.

    Runs every minute, and emits nothing.
    """

    name: ClassVar = "signing-keys"

    def __init__(
        self,
        signing_keys: SigningKeys,
        grants: Grants,
        attempts: SignInAttempts,
        pending: PendingSignIns,
        clock: Clock,
    ) -> None:
        self._signing_keys, self._grants, self._attempts = signing_keys, grants, attempts
        self._pending, self._clock = pending, clock

    def __call__(self) -> list[Event]:
        self._signing_keys.rotate()
        self._grants.forget(self._clock.now() - USED_CODE_RETENTION)
        self._attempts.forget(self._clock.now())
        self._pending.forget(self._clock.now())
        return []
