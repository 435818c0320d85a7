"""Which methods of a port have side effects: fault injection stops a process before and after each of them."""

from collections.abc import Callable

MARK = "__effects__"


def effects[T](*methods: str) -> Callable[[type[T]], type[T]]:
    """Mark the methods of a port that change anything outside the process."""

    def mark(port: type[T]) -> type[T]:
        setattr(port, MARK, frozenset(methods))
        return port

    return mark


def effects_of(port: object) -> frozenset[str]:
    return getattr(port, MARK, frozenset())
