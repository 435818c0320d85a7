"""every minute → tenants whose creation or deletion has not ended"""

from typing import ClassVar, Protocol

from deeplens.common.event import Event


class Lifecycle(Protocol):
    def settle_due(self) -> None:
        """Carry on creations and deletions, within a budget of time; safe to repeat."""


class SettleTenants:
    """Finish what a crash, a part that was away, or its size left unfinished."""

    name: ClassVar = "tenants"

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def __call__(self) -> list[Event]:
        self._lifecycle.settle_due()
        return []
