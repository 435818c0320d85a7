"""The end of a compromised signing key."""

from deeplens.common.ports import Clock
from deeplens.identity.ports import StoredKeys
from deeplens.telemetry.security import security_event


class RevokeSigningKey:
    """End a key: the next token is signed with another, and within ten seconds every API refuses its tokens.

    Needs no secret: ``SigningKeys.rotate`` deletes the private half. Apart from it, as that imports cryptography.
    """

    def __init__(self, rows: StoredKeys, clock: Clock) -> None:
        self._rows, self._clock = rows, clock

    def __call__(self, kid: str) -> bool:
        """Return False when there is no such valid key."""
        revoked = self._rows.revoke(kid, self._clock.now())
        if revoked:
            security_event("signing_key_revoked", kid=kid)
        return revoked
