"""Spans and times of a store's calls, at one place for every kind of store."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from deeplens.storage.ports import ObjectStore
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed

TRACED = ("copy", "delete", "get", "get_range", "head", "put")
"""Calls that end when they return; the others read later."""


def traced[S: ObjectStore](store: type[S]) -> type[S]:
    """Decorate a class of stores: each call is a span where spans are recorded. Keys name files, so none is shown."""
    for name in TRACED:
        setattr(store, name, _with_span(name, getattr(store, name)))
    return store


def _with_span(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def with_span(store: ObjectStore, *arguments: Any, **named: Any) -> Any:
        scheme = store.uri("x").partition(":")[0]
        attributes = {names.RPC_SYSTEM: scheme, names.RPC_SERVICE: "objects", names.RPC_METHOD: name}
        with timed("storage"), tracing.span(f"store {name}", attributes=attributes):
            return call(store, *arguments, **named)

    return with_span
