"""Translate Qdrant's REST JSON to Qdrant Edge's types and back."""

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from local.vector_server.errors import bad_request

type Json = dict[str, Any]

DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}
SCHEMAS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "uuid": edge.PayloadSchemaType.Uuid,
}


def points_of(body: Json, size: int) -> list[edge.Point]:
    """Parse the points of an upsert, row by row (``points``) or column by column (``batch``).

    Every vector must have ``size`` numbers.
    """
    if "batch" in body:
        batch = body["batch"]
        payloads = batch.get("payloads") or [None] * len(batch["ids"])
        return [_point(*row, size) for row in zip(batch["ids"], batch["vectors"], payloads, strict=True)]
    return [_point(point["id"], point["vector"], point.get("payload"), size) for point in body["points"]]


def _point(id_value: Any, vector: Any, payload: Json | None, size: int) -> edge.Point:
    check_vector(vector, size)
    return edge.Point(point_id(id_value), vector, payload or {})


def check_vector(vector: Any, size: int) -> None:
    if not isinstance(vector, list):
        raise bad_request("a vector is a list of numbers; named and sparse vectors are not supported here")
    if len(vector) != size:
        raise bad_request(f"Vector dimension error: expected dim: {size}, got {len(vector)}")


def point_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise bad_request(f"{value!r} is not a valid point ID, valid values are either an unsigned integer or a UUID")
    return value


def filter_of(body: Json | None) -> edge.Filter | None:
    if not body:
        return None
    _require_known_keys(body, {"must", "should", "must_not"}, "filter")
    return edge.Filter(
        must=_conditions(body.get("must")),
        should=_conditions(body.get("should")),
        must_not=_conditions(body.get("must_not")),
    )


def _conditions(body: Json | Sequence[Json] | None) -> list[Any] | None:
    if body is None:
        return None
    return [_condition(condition) for condition in ([body] if isinstance(body, dict) else body)]


def _condition(body: Json) -> Any:
    if "has_id" in body:
        return edge.HasIdCondition({point_id(value) for value in body["has_id"]})
    if "is_empty" in body:
        return edge.IsEmptyCondition(body["is_empty"]["key"])
    if "is_null" in body:
        return edge.IsNullCondition(body["is_null"]["key"])
    if "key" in body:
        return _field(body)
    return filter_of(body)


def _field(body: Json) -> edge.FieldCondition:
    _require_known_keys(body, {"key", "match", "range"}, "condition")
    if body.get("match") is not None:
        return edge.FieldCondition(body["key"], match=_match(body["match"]))
    bounds = {name: value for name, value in body["range"].items() if value is not None}
    dated = any(isinstance(value, str) for value in bounds.values())
    return edge.FieldCondition(body["key"], range=edge.RangeDateTime(**bounds) if dated else edge.RangeFloat(**bounds))


def _match(body: Json) -> Any:
    if "any" in body:
        return edge.MatchAny(body["any"])
    if "except" in body:
        return edge.MatchExcept(body["except"])
    _require_known_keys(body, {"value"}, "match")
    if isinstance(body["value"], bool):
        # Qdrant Edge reads true as the integer 1 and finds nothing: an error is better than a wrong result.
        raise bad_request("matching a boolean is not supported here; match a keyword instead")
    return edge.MatchValue(body["value"])


def _require_known_keys(body: Json, keys: set[str], kind: str) -> None:
    unknown = sorted(set(body) - keys)
    if unknown:
        raise bad_request(f"unsupported in a {kind}: {', '.join(unknown)}")


def schema_of(field_schema: str | Json) -> Any:
    name = field_schema if isinstance(field_schema, str) else field_schema.get("type")
    if name not in SCHEMAS:
        raise bad_request(f"unsupported field schema {name!r}; supported are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def nearest_of(body: Json) -> Any:
    """Return the query vector of ``{"query": [...]}`` or ``{"query": {"nearest": [...]}}``."""
    query = body.get("query")
    return query.get("nearest") if isinstance(query, dict) else query


def payload_selector(with_payload: Any) -> Any:
    """Translate ``with_payload``: a boolean, a list of keys, or ``{"include"|"exclude": keys}``."""
    if isinstance(with_payload, dict):
        if "include" in with_payload:
            return edge.PayloadSelector.Include(with_payload["include"])
        return edge.PayloadSelector.Exclude(with_payload["exclude"])
    return with_payload


def record_json(record: Any) -> Json:
    return {"id": str_id(record.id), "payload": record.payload, "vector": record.vector}


def scored_json(point: Any) -> Json:
    return record_json(point) | {"version": point.version, "score": point.score}


def str_id(value: Any) -> int | str | None:
    return value if value is None or isinstance(value, int) else str(value)
