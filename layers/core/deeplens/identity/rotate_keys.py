"""every minute → signing keys that are due, codes and sessions that are over"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.identity.ports import SigningKeyRing, TokenGrants

KEPT = timedelta(hours=1)
"""How long a used code is remembered after its end, so that a late replay still ends its family."""


class RotateSigningKeys:
    """Make the next key in time, forget dead ones, and sweep what identity no longer needs."""

    name: ClassVar = "signing-keys"

    def __init__(self, signing_keys: SigningKeyRing, grants: TokenGrants, clock: Clock) -> None:
        self._signing_keys, self._grants, self._clock = signing_keys, grants, clock

    def __call__(self) -> list[Event]:
        self._signing_keys.rotate()
        self._grants.forget(self._clock.now() - KEPT)
        return []
