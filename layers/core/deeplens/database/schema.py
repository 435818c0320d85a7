"""Tables as text, for the comparison of both schemas with their migrations."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.schema import SchemaItem

TYPES: Mapping[str, Any] = {
    "text": Text(),
    "text_c": Text(collation="C"),
    "text[]": ARRAY(Text),
    "jsonb": JSONB(),
    "boolean": Boolean(),
    "smallint": SmallInteger(),
    "int": Integer(),
    "int[]": ARRAY(Integer),
    "bigint": BigInteger(),
    "double": Double(),
    "numeric": Numeric(),
    "bytea": LargeBinary(),
    "date": Date(),
    "time": TIMESTAMP(timezone=True),
}
COMPUTED: Mapping[str, Any] = {
    "now()": text("now()"),
    "clock_timestamp()": text("clock_timestamp()"),
    "identity": Identity(),
    "always identity": Identity(always=True),
}
COLUMN = re.compile(
    r"(?P<name>\w+) (?P<type>\w+(\[\])?)(?P<null>\?)?(?P<key> key)?( -> (?P<parent>[\w.]+))?"
    r"(?P<index> index)?(?P<unique> unique)?( = (?P<default>.*))?"
)


def define_table(metadata: MetaData, name: str, columns: str, *items: SchemaItem, schema: str | None = None) -> None:
    """Add a table to ``metadata``.

    Parameters
    ----------
    columns : separated by commas, each ``name type[?] [key] [-> table.column] [index] [unique] [= default]``. ``?``
        allows null. A row is deleted with the row that its ``->`` refers to.
    items : indexes over several columns, and constraints.
    """
    Table(name, metadata, *(_column(described) for described in columns.split(", ")), *items, schema=schema)


def _column(described: str) -> Column[Any]:
    match = COLUMN.fullmatch(described)
    if match is None:
        raise ValueError(f"not a column: {described}")
    default = match["default"]
    return Column(
        match["name"],
        TYPES[match["type"]],
        *([ForeignKey(match["parent"], ondelete="CASCADE")] if match["parent"] else []),
        primary_key=bool(match["key"]),
        nullable=bool(match["null"]),
        index=bool(match["index"]) or None,
        unique=bool(match["unique"]) or None,
        server_default=COMPUTED.get(default, default.strip("'")) if default else None,
    )
