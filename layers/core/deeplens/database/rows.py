"""Dataclasses whose fields are the columns of a table: SQL, parameters and records from their names."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from deeplens.database.values import as_text


def columns_of(record_type: type[Any], prefix: str = "") -> str:
    """A list for SQL, e.g. ``w.id, w.url`` with the prefix ``w.``."""
    return ", ".join(f"{prefix}{field.name}" for field in fields(record_type))


def insert_into(table: str, record_type: type[Any]) -> str:
    """An INSERT statement with the parameters of ``parameters_of``."""
    placeholders = ", ".join(f"%({field.name})s" for field in fields(record_type))
    return f"INSERT INTO {table} ({columns_of(record_type)}) VALUES ({placeholders})"  # noqa: S608


def parameters_of(record: Any) -> dict[str, Any]:
    """The fields with storable text, and with lists for tuples, as PostgreSQL's arrays need them."""
    return {field.name: _parameter(getattr(record, field.name)) for field in fields(record)}


def record_of[R](record_type: type[R], row: Mapping[str, Any], prefix: str = "") -> R:
    """The record in the columns whose names begin with ``prefix``, with tuples for arrays."""
    values = {field.name: row[prefix + field.name] for field in fields(record_type)}  # type: ignore[arg-type]
    return record_type(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _parameter(value: Any) -> Any:
    match value:
        case str():
            return as_text(value)
        case tuple():
            return [_parameter(item) for item in value]
    return value
