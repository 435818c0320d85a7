"""Fault points: a function's process dies just before or after a side effect, so that what is left half-done is seen.

The ports are wrapped where they are built; stages know nothing of it. Only the local platform can turn this on, see
``Settings.fault_plan``.
"""

import os
import signal
from collections.abc import Callable
from random import Random
from typing import Any

from deeplens.bootstrap.container import Container
from deeplens.settings import Settings
from deeplens.stores.model import TenantStore
from deeplens.telemetry import logger
from deeplens.tenants.model import Tenant

EFFECTS: dict[str, frozenset[str]] = {
    "budgets": frozenset(("save", "evaluate", "told")),
    "dead_letters": frozenset(("store", "mark_replayed", "settle_image", "discard")),
    "duplicates": frozenset(("keep_hashes", "reserve", "save", "record", "decide", "merge", "undo", "settle")),
    "images": frozenset(("insert", "advance", "amend", "bury", "erase", "purge_tombstones")),
    "index": frozenset(
        ("create_collection", "drop_collection", "upsert", "delete", "replace_payload", "delete_points")
    ),
    "maintenance_runs": frozenset(("start", "move", "overdue", "wake", "forget", "changed")),
    "merge_deadlines": frozenset(("add", "overdue", "done")),
    "object_queue": frozenset(("send",)),
    "pending": frozenset(("admit", "admit_frames", "finish", "postpone", "overdue")),
    "pending_videos": frozenset(("admit", "postpone", "finish", "overdue")),
    "publisher": frozenset(("publish", "resend")),
    "retries": frozenset(("send",)),
    "rollouts": frozenset(("register", "start", "swap", "end", "dropped")),
    "registered_stores": frozenset(("save", "adopt", "release", "remove", "notified")),
    "store": frozenset(("ensure", "adopt", "remove", "put", "delete", "copy")),
    "store_objects": frozenset(("save", "forget")),
    "uploads": frozenset(("add", "keep_multipart", "claim", "put_off", "end", "expect", "overdue", "forget")),
    "usage": frozenset(("record", "roll_up", "measured", "forget")),
    "videos": frozenset(("insert", "plan", "start", "stop", "add_frames", "finish_segment", "fail", "bury", "erase")),
    "vector_states": frozenset(("record", "plan", "release", "forget")),
    "webhooks": frozenset(("save", "remove", "record", "add", "claim", "settle", "release", "again", "forget")),
}
"""Methods with side effects by port. ``store`` is what ``stores`` gives."""

type Fault = Callable[[str], bool]
"""Whether to die at a point, which is named e.g. ``images.advance:before``."""


def at_random(seed: str, probability: float) -> Fault:
    """Die at any point with this probability; which ones is a function of the seed and of the points' order alone."""
    rng = Random(seed)  # noqa: S311 - for its seed
    return lambda _point: rng.random() < probability


def die(point: str) -> None:
    """End this process as ``kill -9`` does: nothing is flushed, closed or committed."""
    logger().warning("fault", point=point)
    os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A port whose side effects are fault points; all else is the port's own."""

    def __init__(self, name: str, port: Any, fault: Fault, die: Callable[[str], None] = die) -> None:
        self._name, self._port, self._fault, self._die = name, port, fault, die

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._port, attribute)
        return self._watched(attribute, found) if attribute in EFFECTS[self._name] else found

    def _watched(self, attribute: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*args: Any, **named: Any) -> Any:
            self._pass(f"{self._name}.{attribute}:before")
            result = method(*args, **named)
            self._pass(f"{self._name}.{attribute}:after")
            return result

        return effect

    def _pass(self, point: str) -> None:
        if self._fault(point):
            self._die(point)


class WatchedStores:
    """A ``StoreResolver`` whose stores are watched."""

    def __init__(self, stores: Any, fault: Fault, die: Callable[[str], None] = die) -> None:
        self._stores, self._fault, self._die = stores, fault, die

    def for_tenant(self, tenant: Tenant) -> Any:
        return self._watched(self._stores.for_tenant(tenant))

    def holding(self, tenant: Tenant, uri: str) -> Any:
        return self._watched(self._stores.holding(tenant, uri))

    def registered(self, tenant: Tenant, store: TenantStore) -> Any:
        return self._watched(self._stores.registered(tenant, store))

    def _watched(self, store: Any) -> Watched:
        return Watched("store", store, self._fault, self._die)


def watched(name: str, part: Any, fault: Fault, die: Callable[[str], None] = die) -> Any:
    """A part with fault points, if it is a port that has side effects."""
    if name == "stores":
        return WatchedStores(part, fault, die)
    return Watched(name, part, fault, die) if name in EFFECTS else part


class FaultyContainer(Container):
    """The parts of an execution environment that is to die in the middle of its work."""

    def __init__(self, settings: Settings, fault: Fault, die: Callable[[str], None] = die) -> None:
        super().__init__(settings)
        self._fault, self._die = fault, die

    def __getattribute__(self, name: str) -> Any:
        part = super().__getattribute__(name)
        if name == "stores" or name in EFFECTS:
            return watched(name, part, self._fault, self._die)
        return part


def faulty_container(settings: Settings, seed: str, probability: float) -> FaultyContainer:
    """Container whose process dies at random. Every process of a function dies at points of its own."""
    return FaultyContainer(settings, at_random(f"{seed}/{settings.execution_environment}", probability))
