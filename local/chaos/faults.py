"""Fault points: a function's process dies just before or after a side effect, so that tests see what is half-done.

They wrap the ports of the container; the deployed code knows nothing of them. The runner starts a function with them
by running this file in place of ``awslambdaric``: ``faults.py SEED:PROBABILITY HANDLER``.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from deeplens.bootstrap import handlers
from deeplens.bootstrap.container import Container
from deeplens.settings import Settings, settings
from deeplens.telemetry.logs import logger

EFFECTS = {
    "budgets": {"save", "evaluate", "mark_notified"},
    "dead_letters": {"store", "mark_replayed", "settle_image", "discard"},
    "duplicates": {"keep_hashes", "reserve", "save", "record", "decide", "merge", "undo", "settle"},
    "images": {"insert", "advance", "start", "stop", "amend", "mark_deleted", "delete_rows", "purge_tombstones"},
    "index": {"create_collection", "drop_collection", "upsert", "delete", "replace_payload", "delete_points"},
    "maintenance_runs": {"start", "move", "overdue", "wake", "forget", "changed"},
    "mailer": {"send"},
    "merge_deadlines": {"add", "overdue", "done"},
    "object_queue": {"send"},
    "outbox": {"add", "claim", "postpone", "remove", "give_up"},
    "pending": {"admit", "admit_frames", "finish", "postpone", "overdue"},
    "pending_videos": {"admit", "postpone", "finish", "overdue"},
    "publisher": {"publish", "resend"},
    "registered_stores": {"save", "set_storage_uri", "remove", "notified"},
    "retries": {"send"},
    "rollouts": {"register", "start", "swap", "end", "dropped"},
    "store": {"ensure", "adopt", "remove", "put", "delete", "copy"},
    "store_objects": {"save", "forget"},
    "uploads": {"add", "keep_multipart", "claim", "put_off", "end", "expect", "overdue", "forget"},
    "usage": {"record", "carry_gauges", "mark_measured", "forget"},
    "vector_states": {"record", "plan", "release", "forget"},
    "videos": {
        "insert", "plan", "start", "stop", "add_frames", "finish_segment", "fail", "mark_deleted", "delete_rows",
    },
    "webhooks": {"save", "remove", "record", "add", "claim", "settle", "release", "redeliver", "forget"},
}  # fmt: skip
"""Methods with side effects, by the container's name of their port; ``store`` is what ``stores`` returns."""

type Fault = Callable[[str], bool]
"""Whether to die at a point, which is named e.g. ``images.advance:before``."""


def at_random(seed: str, probability: float) -> Fault:
    """Die at each point with this probability; the seed and the order of the points decide at which."""
    rng = Random(seed)  # noqa: S311 - for its seed
    return lambda _point: rng.random() < probability


def die(point: str) -> None:
    """End this process as ``kill -9`` does: nothing is flushed, closed or committed."""
    logger().warning("fault", point=point)
    os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A port whose side effects are fault points."""

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
    """A ``StoreResolver`` whose stores are watched: each of its methods returns one."""

    def __init__(self, stores: Any, fault: Fault, die: Callable[[str], None] = die) -> None:
        self._stores, self._fault, self._die = stores, fault, die

    def __getattr__(self, attribute: str) -> Any:
        open_store = getattr(self._stores, attribute)
        return lambda *args: Watched("store", open_store(*args), self._fault, self._die)


def watched(name: str, part: Any, fault: Fault, die: Callable[[str], None] = die) -> Any:
    """An adapter with fault points, if its port has side effects."""
    if name == "stores":
        return WatchedStores(part, fault, die)
    return Watched(name, part, fault, die) if name in EFFECTS else part


class FaultyContainer(Container):
    """The container of an execution environment that dies in the middle of its work."""

    def __init__(self, settings: Settings, fault: Fault, die: Callable[[str], None] = die) -> None:
        super().__init__(settings)
        self._fault, self._die = fault, die

    def __getattribute__(self, name: str) -> Any:
        part = super().__getattribute__(name)
        return part if name[0] == "_" else watched(name, part, self._fault, self._die)


def faulty_container(plan: str) -> FaultyContainer:
    """The container of this process, which dies at random: each process of a function at other points."""
    seed, _, probability = plan.rpartition(":")
    process = f"{os.environ['AWS_LAMBDA_FUNCTION_NAME']}/{os.environ['AWS_LAMBDA_LOG_STREAM_NAME']}"
    return FaultyContainer(settings(), at_random(f"{seed}/{process}", float(probability)))


def main() -> None:
    """Run a function as ``awslambdaric`` does, on a container with faults."""
    from awslambdaric.__main__ import main as run  # type: ignore[import-untyped]

    _, plan, handler = sys.argv
    handlers.container = cache(lambda: faulty_container(plan))
    run([sys.argv[0], handler])


if __name__ == "__main__":
    main()
