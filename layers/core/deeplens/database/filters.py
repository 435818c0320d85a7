"""SQL conditions for lists of images and videos."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from deeplens.database.values import as_text


class ListQuery(Protocol):
    """Filters of a list, and the position after which it continues: (uploaded_at, id)."""

    @property
    def statuses(self) -> tuple[str, ...]: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def uploaded_from(self) -> datetime | None: ...
    @property
    def uploaded_before(self) -> datetime | None: ...
    @property
    def after(self) -> tuple[datetime, str] | None: ...


def conditions_of(query: ListQuery, statuses: Mapping[str, int] | None = None) -> tuple[list[str], list[Any]]:
    """WHERE parts and their values; parts are constants, values are parameters.

    Parameters
    ----------
    statuses : their numbers in the column ``step``; without it, the column ``status`` is used.
    """
    chosen = [statuses[status] if statuses else status for status in query.statuses]
    filters: list[tuple[str, Any]] = [
        ("step = ANY(%s)" if statuses else "status = ANY(%s)", chosen or None),
        ("tags @> %s::text[]", [as_text(tag) for tag in query.tags] or None),
        ("uploaded_at >= %s", query.uploaded_from),
        ("uploaded_at < %s", query.uploaded_before),
        ("(uploaded_at, id) < (%s, %s)", query.after),
    ]
    where, values = list[str](), list[Any]()
    for part, value in filters:
        if value is not None:
            where.append(part)
            values.extend(value if isinstance(value, tuple) else [value])
    return where, values
