"""Fault points: a function's process dies just before or after a side effect, so that tests see what is half-done.

The container wraps the ports; stages know nothing of it. Only the local platform can turn this on, see
``Settings.fault_plan``.
"""

import ast
import inspect
import os
import signal
from collections.abc import Callable
from functools import cache
from importlib import import_module
from random import Random
from typing import Any

from deeplens.bootstrap import container
from deeplens.bootstrap.container import Container
from deeplens.common.effects import effects_of
from deeplens.common.resolve import providers_of
from deeplens.settings import Settings
from deeplens.storage.ports import ObjectStore
from deeplens.telemetry import logger

PROVIDED = frozenset(providers_of(Container).values())

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


@cache
def effects_by_name(name: str) -> frozenset[str]:
    """Methods with side effects of the port that the container has under this name, as the port marks them."""
    types = {attribute: type_name for type_name, attribute in providers_of(Container).items()}
    module = _modules().get(types.get(name, ""))
    return effects_of(getattr(import_module(module), types[name])) if module else frozenset()


@cache
def _modules() -> dict[str, str]:
    """Where the container's types are defined: it imports most of them for type checkers only."""
    nodes = ast.walk(ast.parse(inspect.getsource(container)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


class Watched:
    """A port whose side effects are fault points."""

    def __init__(
        self, name: str, port: Any, effects: frozenset[str], fault: Fault, die: Callable[[str], None] = die
    ) -> None:
        self._name, self._port, self._effects, self._fault, self._die = name, port, effects, fault, die

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._port, attribute)
        return self._watched(attribute, found) if attribute in self._effects else found

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
        effects = effects_of(ObjectStore)
        return lambda *args: Watched("store", open_store(*args), effects, self._fault, self._die)


def watched(name: str, part: Any, fault: Fault, die: Callable[[str], None] = die) -> Any:
    """An adapter with fault points, if its port has side effects."""
    if name == "stores":
        return WatchedStores(part, fault, die)
    effects = effects_by_name(name)
    return Watched(name, part, effects, fault, die) if effects else part


class FaultyContainer(Container):
    """The container of an execution environment that dies in the middle of its work."""

    def __init__(self, settings: Settings, fault: Fault, die: Callable[[str], None] = die) -> None:
        super().__init__(settings)
        self._fault, self._die = fault, die

    def __getattribute__(self, name: str) -> Any:
        part = super().__getattribute__(name)
        return part if name not in PROVIDED else watched(name, part, self._fault, self._die)


def faulty_container(settings: Settings, seed: str, probability: float) -> FaultyContainer:
    """A container whose process dies at random; each process of a function dies at other points."""
    return FaultyContainer(settings, at_random(f"{seed}/{settings.execution_environment}", probability))
