"""Qdrant's JSON filters as Qdrant Edge conditions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import qdrant_edge as edge


class BadFilter(Exception):
    """A condition that this server does not know."""


def filter_of(given: Mapping[str, Any] | None) -> edge.Filter | None:
    """``{"must": […], "should": […], "must_not": […]}``; raises ``BadFilter``."""
    if not given:
        return None
    must, should, must_not = (
        [_condition(c) for c in _listed(given.get(name))] or None for name in ("must", "should", "must_not")
    )
    return edge.Filter(must=must, should=should, must_not=must_not)


def _listed(conditions: Any) -> list[Any]:
    if conditions is None:
        return []
    return conditions if isinstance(conditions, list) else [conditions]


def _condition(given: Mapping[str, Any]) -> Any:
    if "has_id" in given:
        return edge.HasIdCondition(set(given["has_id"]))
    if "key" in given:
        return edge.FieldCondition(given["key"], match=_match(given.get("match")), range=_range(given.get("range")))
    if {"must", "should", "must_not"} & given.keys():
        return filter_of(given)
    raise BadFilter(f"unknown condition {sorted(given)}")


def _match(given: Mapping[str, Any] | None) -> Any:
    if given is None:
        return None
    if "value" in given:
        return edge.MatchValue(given["value"])
    if "any" in given:
        return edge.MatchAny(given["any"])
    raise BadFilter(f"unknown match {sorted(given)}")


def _range(given: Mapping[str, Any] | None) -> Any:
    bounds = {name: value for name, value in (given or {}).items() if value is not None}
    if not bounds:
        return None
    if any(isinstance(value, str) for value in bounds.values()):
        return edge.RangeDateTime(**{name: _rfc3339(value) for name, value in bounds.items()})
    return edge.RangeFloat(**bounds)


def _rfc3339(value: str) -> str:
    return datetime.fromisoformat(value).isoformat()
