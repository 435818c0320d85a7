"""Spans and times of a store's calls, at one place for every kind of store."""

from collections.abc import Callable
from typing import Any, cast

from deeplens.storage.ports import ObjectStore
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed

TRACED = frozenset({"copy", "delete", "get", "get_range", "head", "put"})
"""Calls that end when they return; the others read later."""


def traced(store: ObjectStore) -> ObjectStore:
    """The store, with a span per call where spans are recorded. Keys name files, so no span shows one."""
    return cast("ObjectStore", _TracedStore(store)) if tracing.enabled() else store


class _TracedStore:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._attributes = {names.RPC_SYSTEM: store.uri("x").partition(":")[0], names.RPC_SERVICE: "objects"}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._traced(name, found) if name in TRACED else found

    def _traced(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        attributes = {**self._attributes, names.RPC_METHOD: name}

        def with_span(*arguments: Any, **named: Any) -> Any:
            with timed("storage"), tracing.span(f"store {name}", attributes=attributes):
                return call(*arguments, **named)

        return with_span
