"""Counting what a request turned out to be. Nobody is refused because it could not be counted."""

from deeplens.access.caller import Caller
from deeplens.errors import DependencyUnavailable
from deeplens.http.dependencies import ApiParts
from deeplens.telemetry import logger


def count_search(parts: ApiParts, caller: Caller) -> None:
    _add(parts, caller, searches=1)


def count_egress(parts: ApiParts, caller: Caller, size_bytes: int) -> None:
    """Bytes of a file that leave the store for a client."""
    _add(parts, caller, egress_bytes=size_bytes)


def _add(parts: ApiParts, caller: Caller, *, searches: int = 0, egress_bytes: int = 0) -> None:
    try:
        parts.request_counters.add(caller.tenant.id, parts.clock.now(), searches=searches, egress_bytes=egress_bytes)
    except DependencyUnavailable as error:
        logger().warning("not counted", tenant_id=caller.tenant.id, reason=str(error))
