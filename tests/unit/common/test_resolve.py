"""Stages, jobs, use cases and routes get ports and values by the types of their parameters, from the real container."""

import ast
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Annotated, Any, NewType

import pytest
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.container import ALSO_PROVIDED, Container
from deeplens.bootstrap.search_api import create_app
from deeplens.common.resolve import Lazy, Resolver, parameters_of, provided_by, providers_of
from deeplens.http.dependencies import port
from deeplens.settings import Settings
from fastapi.routing import APIRoute

ROOT = Path(__file__).resolve().parents[3]
HANDLERS = sorted((ROOT / "functions").glob("*/handler.py"))


class Port(typing.Protocol):
    def call(self) -> str: ...


class Adapter:
    def call(self) -> str:
        return "called"


Seconds = NewType("Seconds", int)


class Small(Resolver):
    @functools.cached_property
    def port(self) -> Port:
        return Adapter()

    @functools.cached_property
    def seconds(self) -> "Seconds | None":
        return None

    @functools.cached_property
    def broken(self) -> "Broken":
        raise RuntimeError("built too early")


class Broken:
    pass


class SmallUser:
    def __init__(self, port: Port) -> None:
        self.port = port


class User:
    def __init__(
        self,
        port: Port,
        used: SmallUser,
        seconds: "Seconds | None",
        broken: Lazy[Broken],
        text: "Lazy[Broken] | None" = None,
        limit: int = 3,
    ) -> None:
        self.port, self.used, self.seconds, self.broken, self.text, self.limit = (
            port, used, seconds, broken, text, limit,
        )  # fmt: skip


Small.providers = {"Port": "port", "Seconds": "seconds", "Broken": "broken"}


def test_parameters_are_resolved_by_type_and_others_are_built_or_keep_their_default() -> None:
    small = Small()
    user = small.resolve(User)
    assert (user.port, user.used.port, user.seconds, user.limit) == (small.port, small.port, None, 3)
    assert small.resolve(Port) is small.port


def test_a_function_that_returns_nothing_is_no_optional_port() -> None:
    class Notified:
        def __init__(self, port: Lazy["Port"], on_end: Callable[[Port], None] = print) -> None:
            self.port, self.on_end = port, on_end

    notified = Small().build(Notified)
    assert (notified.port().call(), notified.on_end) == ("called", print)


def test_a_lazy_port_is_built_when_it_is_called() -> None:
    user = Small().build(User)
    with pytest.raises(RuntimeError, match="built too early"):
        user.broken()


def test_what_nothing_provides_is_named() -> None:
    class Wrong:
        def __init__(self, missing: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821
            raise NotImplementedError

    with pytest.raises(TypeError, match="Missing"):
        Small().build(Wrong)


def test_the_types_of_a_container_are_found() -> None:
    assert {name: Small.providers[name] for name in ("Port", "Seconds", "Broken")}.items() <= {
        **providers_of(Small), "Port": "port"
    }.items()  # fmt: skip


@functools.cache
def imported_names(module: ModuleType) -> dict[str, str]:
    """Where a module's names come from, those that it imports for type checkers included."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"{node.module}:{alias.name}" for node in imports for alias in node.names}


class Names(dict[str, Any]):
    """A module's names, with those that it imports for type checkers only."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(vars(module))
        self._imported = imported_names(module)

    def __missing__(self, name: str) -> Any:
        module, _, attribute = self._imported[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


def annotation_of(annotation: Any, module: ModuleType) -> Any:
    """The type that an annotation means; of ``Lazy[T]``, ``T | None`` and annotated types, T."""
    if isinstance(annotation, str):
        annotation = eval(annotation, {}, Names(module))
    if typing.get_origin(annotation) in (Lazy, Annotated):
        return annotation_of(typing.get_args(annotation)[0], module)
    options = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    if type(None) in typing.get_args(annotation) and len(options) == 1:
        return annotation_of(options[0], module)
    return annotation


@functools.cache
def provided() -> dict[str, Any]:
    """The types that the container provides, by its attributes' names."""
    found: dict[str, Any] = {}
    for base in reversed(Container.__mro__):
        for name, attribute in vars(base).items():
            if provided := provided_by(base, name, attribute):
                found[name] = annotation_of(provided, importlib.import_module(base.__module__))
    return found


def callables() -> Iterator[Callable[..., Any]]:
    """What handlers build, and what routes inject."""
    for handler in HANDLERS:
        for name, path in imported_names_of(handler).items():
            if path.startswith("deeplens.") and not path.startswith("deeplens.bootstrap") and name[0].isupper():
                yield getattr(importlib.import_module(path.partition(":")[0]), name)
    container = Container(Settings())
    for app in (create_app(container), create_admin_app(container)):  # type: ignore[arg-type]
        for route in routes_of(app.routes):
            yield from injected(route.dependant)


def routes_of(routes: Sequence[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif router := getattr(route, "original_router", None):
            yield from routes_of(router.routes)


def imported_names_of(path: Path) -> dict[str, str]:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{node.module}:{alias.name}" for node in imports for alias in node.names}


def injected(dependant: Any) -> Iterator[Callable[..., Any]]:
    for dependency in dependant.dependencies:
        call = dependency.call
        if getattr(call, "__qualname__", "") == port(Port).__qualname__:
            yield inspect.getclosurevars(call).nonlocals["kind"]
        yield from injected(dependency)


def unresolved(kind: Callable[..., Any], seen: set[Any]) -> Iterator[str]:
    """What the container would not give, or would give of another type, to whatever wants ``kind``."""
    name = getattr(kind, "__name__", str(kind))
    attribute = Container.providers.get(name)
    if attribute is not None:
        if name not in ALSO_PROVIDED and provided()[attribute] is not kind:
            yield f"{name}: the container provides {provided()[attribute]}"
        return
    if not inspect.isclass(kind) or getattr(kind, "_is_protocol", False) or kind.__module__ == "builtins":
        yield f"{name}: nothing provides it"
        return
    if kind not in seen:
        seen.add(kind)
        module, signature = inspect.getmodule(kind), inspect.signature(kind)
        assert module is not None
        for parameter in parameters_of(kind):
            if parameter.type_name in Container.providers or not parameter.has_default:
                annotation = annotation_of(signature.parameters[parameter.name].annotation, module)
                yield from (f"{name}.{parameter.name}: {why}" for why in unresolved(annotation, seen))


def test_every_type_of_a_stage_job_use_case_and_route_is_provided() -> None:
    functions = list(callables())
    assert len(functions) > 25
    seen: set[Any] = set()
    assert [why for kind in functions for why in unresolved(kind, seen)] == []


def test_no_two_provided_types_share_a_name() -> None:
    types = {name: getattr(kind, "__name__", str(kind)) for name, kind in provided().items()}
    assert len(set(types.values())) == len(types)
    assert not set(ALSO_PROVIDED) & set(types.values())
    assert {*Container.providers.values()} == {*types, "settings"}


def test_what_a_container_provides_beside_it_has() -> None:
    assert not [name for name in ALSO_PROVIDED.values() if name != "settings" and name not in provided()]


def adapters() -> dict[str, Any]:
    """The adapters that a container builds by their paths, by attribute."""
    attributes = {name: attribute for base in Container.__mro__ for name, attribute in vars(base).items()}
    built = {
        name: one.func.args[0] for name, one in attributes.items() if isinstance(getattr(one, "func", None), partial)
    }
    return {name: resolve_name(path) for name, path in built.items()}


@pytest.mark.parametrize(
    "name", sorted(name for name in adapters() if getattr(provided()[name], "_is_protocol", False))
)
def test_an_adapter_has_the_methods_of_its_port(name: str) -> None:
    """mypy sees what a property returns; of one that is built by its path, the signatures are compared here."""
    promised, adapter = provided()[name], adapters()[name]
    for method, function in inspect.getmembers(promised, inspect.isfunction):
        if not method.startswith("_"):
            own = getattr(adapter, method)
            mine, wanted = (
                signature_of(one, inspect.getmodule(of)) for one, of in ((own, adapter), (function, promised))
            )
            assert mine == wanted[: len(mine)]


def signature_of(function: Any, module: Any) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(inspect.unwrap(function))
    named = [
        (parameter.name, parameter.kind, annotation_of(parameter.annotation, module))
        for parameter in signature.parameters.values()
    ]
    if hasattr(function, "__wrapped__"):
        # A context manager's function returns an iterator.
        return named
    return [*named, ("return", None, annotation_of(signature.return_annotation, module))]
