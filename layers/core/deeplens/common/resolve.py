"""Building objects from the types of their parameters."""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from types import NoneType, UnionType
from typing import Any, ClassVar, ForwardRef, NamedTuple, Union, cast, get_args, get_origin

type Lazy[T] = Callable[[], T]
"""Builds a port when it is called: for adapters that are slow to import and seldom needed."""


class Parameter(NamedTuple):
    """One parameter of a constructor: its name and the name of its type."""

    name: str
    type_name: str
    kind: Any
    lazy: bool
    has_default: bool


class Resolver:
    """Gives ports and values by their types, and builds stages, jobs and use cases from them.

    Attributes
    ----------
    providers : names of attributes by the name of the type that they provide; a type's name is unique in DeepLens.
    """

    providers: ClassVar[Mapping[str, str]] = {}

    def resolve[T](self, kind: Callable[..., T]) -> T:
        """The port or value of type ``kind``; what nothing provides is built from its own parameters."""
        attribute = self.providers.get(kind.__name__)
        return cast("T", getattr(self, attribute)) if attribute else self.build(kind)

    def build[T](self, cls: Callable[..., T]) -> T:
        """An instance of ``cls``, each parameter resolved by its type; its default is used if nothing provides that."""
        needed = [
            parameter
            for parameter in parameters_of(cls)
            if parameter.type_name in self.providers or not parameter.has_default
        ]
        return cls(**{parameter.name: self._argument(parameter) for parameter in needed})

    def _argument(self, wanted: Parameter) -> Any:
        return partial(self._resolve_named, wanted) if wanted.lazy else self._resolve_named(wanted)

    def _resolve_named(self, wanted: Parameter) -> Any:
        attribute = self.providers.get(wanted.type_name)
        if attribute:
            return getattr(self, attribute)
        if wanted.kind is None:
            raise TypeError(f"nothing provides {wanted.type_name} for the parameter {wanted.name}")
        return self.build(wanted.kind)


@cache
def parameters_of(cls: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The constructor's parameters; annotations may be strings, so that their modules need not be imported."""
    return tuple(_parameter(found) for found in inspect.signature(cls).parameters.values())


OPTIONAL_OR_LAZY = re.compile(r"^(Lazy\[)?([\w.]+)\]?(?: \| None)?$")


def _parameter(found: inspect.Parameter) -> Parameter:
    kind = found.annotation
    lazy = get_origin(kind) is Lazy
    if lazy:
        (kind,) = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if isinstance(kind, ForwardRef):
        kind = kind.__forward_arg__
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    if isinstance(kind, str) and (match := OPTIONAL_OR_LAZY.match(kind)):
        lazy, name = lazy or bool(match[1]), match[2].rpartition(".")[2]
    has_default = found.default is not inspect.Parameter.empty
    return Parameter(found.name, name, kind if callable(kind) else None, lazy, has_default)


def providers_of(cls: type) -> dict[str, str]:
    """The properties of a container by the names of the types that they provide."""
    return {
        str(provided).removesuffix(" | None"): name
        for base in reversed(cls.__mro__)
        for name, attribute in vars(base).items()
        if (provided := provided_by(base, name, attribute))
    }


def provided_by(base: type, name: str, attribute: object) -> object:
    """The annotation of a property, of its function or in the class; None of any other attribute."""
    if not isinstance(attribute, property | cached_property):
        return None
    function = attribute.fget if isinstance(attribute, property) else attribute.func
    return getattr(function, "__annotations__", {}).get("return") or vars(base)["__annotations__"][name]
