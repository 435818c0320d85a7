"""Faults between stages and the parts they use: a part that is away, a process that dies between two side effects."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from deeplens.errors import (
    DatabaseUnavailable,
    DependencyUnavailable,
    IndexUnavailable,
    InferenceBusy,
    QueueUnavailable,
    StoreUnavailable,
    TenantStoreDenied,
)

type Mode = Literal["dies before", "dies after", "answer lost", "breaks", "denied", "meanwhile"]
type Part = Literal["store", "tenant database", "platform database", "index", "inference", "broker", "queue"]

ERRORS: dict[Part, DependencyUnavailable] = {
    "store": StoreUnavailable("away"),
    "tenant database": DatabaseUnavailable("away"),
    "platform database": DatabaseUnavailable("away"),
    "index": IndexUnavailable("away"),
    "inference": InferenceBusy("queue full", retry_after_seconds=2),
    "broker": DependencyUnavailable("unused: the publisher answers for each message"),
    "queue": QueueUnavailable("away"),
}
PARTS = tuple(ERRORS)
PART_OF: dict[str, Part] = {
    "images": "tenant database",
    "vector_states": "tenant database",
    "tenants": "platform database",
    "pending": "platform database",
    "usage": "platform database",
    "request_counters": "platform database",
    "dead_letters": "platform database",
    "webhooks": "platform database",
    "maintenance_runs": "platform database",
    "api_keys": "platform database",
    "index": "index",
    "embedder": "inference",
    "retries": "queue",
    "publisher": "broker",
}
"""Which part an attribute of a flow or a world stands for."""
UNPROMISED = {"run", "rows", "payload_of", "exists", "presign_get", "uri", "key_of", "messages"}
"""Of fakes and stores: what reaches no part, or is there for tests only."""


class Crash(BaseException):
    """The process ends here; nothing in it gets to handle that."""


class Faults:
    """Stands before every fake of a flow, or of the API's world.

    Attributes
    ----------
    away : parts that cannot be reached.
    calls : how many calls reached a part so far.
    struck : the method that went wrong last.
    """

    def __init__(self, world: Any) -> None:
        self.away: set[Part] = set()
        self.calls, self.struck = 0, ""
        self._within = False
        self._fault: tuple[int, Mode, Callable[[], None]] | None = None
        fakes: list[tuple[Part, Any]] = [(part, getattr(world, name, None)) for name, part in PART_OF.items()]
        fakes += [("store", world.stores.for_tenant(owner)) for owner in (world.acme, world.other)]
        for part, fake in fakes:
            for name in dir(type(fake)):
                method = getattr(fake, name, None)
                if not name.startswith("_") and callable(method) and name not in UNPROMISED:
                    setattr(fake, name, self._guarded(part, method))

    @contextmanager
    def at(self, call: int, mode: Mode, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let the ``call``-th call from now on go wrong, or ``meanwhile`` happen just before it."""
        self._fault = (self.calls + call, mode, meanwhile)
        try:
            yield
        finally:
            self._fault = None

    @contextmanager
    def from_call(self, call: int) -> Iterator[None]:
        """Let every part be away from the ``call``-th call from now on."""
        with self.at(call, "meanwhile", lambda: self.away.update(PARTS)):
            yield
        self.away.clear()

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """What tests look at is no part's business."""
        before, self._within = self._within, True
        try:
            yield
        finally:
            self._within = before

    def _guarded(self, part: Part, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._within:
                return method(*args, **kwargs)
            fault = self._due()
            self.struck = method.__name__ if fault else self.struck
            if fault == "dies before":
                raise Crash
            if fault == "breaks":
                raise ZeroDivisionError
            if fault == "denied" and part == "store":
                raise TenantStoreDenied("access denied")
            if part in self.away:
                return _refused(part, args)
            with self.unnoticed():
                answer = method(*args, **kwargs)
            if fault == "dies after":
                raise Crash
            return _refused(part, args) if fault == "answer lost" else answer

        return call

    def _due(self) -> Mode | None:
        """Count a call; the fault that it is to meet."""
        self.calls += 1
        if self._fault is None or self._fault[0] != self.calls:
            return None
        (_, mode, meanwhile), self._fault = self._fault, None
        if mode == "meanwhile":
            meanwhile()
        return mode


def _refused(part: Part, args: tuple[Any, ...]) -> list[bool]:
    if part != "broker":
        raise ERRORS[part]
    return [False] * len(args[0]) if args else []
