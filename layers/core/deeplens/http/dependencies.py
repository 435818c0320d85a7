"""Dependencies that give routes single ports, values and use cases of the container."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

if TYPE_CHECKING:
    from deeplens.common.resolve import Resolver


@cache
def port(kind: Callable[..., Any]) -> Callable[[Request], Awaitable[Any]]:
    """The dependency that gives a route a port, a value or a use case of type ``kind`` from the container."""

    # Asynchronous: resolving needs no thread.
    async def resolve(request: Request) -> Any:
        return cast("Resolver", request.app.state.container).resolve(kind)

    return resolve


if TYPE_CHECKING:
    type Injected[T] = T
else:

    class Injected:
        """``Injected[ImageRepository]`` as a route's parameter: an ``ImageRepository`` from the container."""

        def __class_getitem__(cls, kind: Callable[..., Any]) -> Any:
            return Annotated[kind, Depends(port(kind))]
