"""every minute → rotated signing keys; expired codes, token families and sessions are deleted"""

from datetime import timedelta
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.identity.ports import Grants
from deeplens.identity.signing_keys import SigningKeys

KEPT = timedelta(hours=1)
"""How long a used code is kept after it expired, so that a late replay still revokes its family."""


class RotateSigningKeys:
    """Rotate the signing keys and delete expired grants. Emits nothing."""

    name: ClassVar = "signing-keys"

    def __init__(self, signing_keys: SigningKeys, grants: Grants, clock: Clock) -> None:
        self._signing_keys, self._grants, self._clock = signing_keys, grants, clock

    def __call__(self) -> list[Event]:
        self._signing_keys.rotate()
        self._grants.forget(self._clock.now() - KEPT)
        return []
