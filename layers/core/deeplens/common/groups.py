"""Grouping."""

from collections.abc import Callable, Iterable


def grouped[K, T](items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by key; keys, and the items of each, stay in their order."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
