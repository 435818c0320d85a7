"""Plan the strikes of a run. The plan depends on nothing but the options and the seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal

type Kind = Literal["kill", "freeze"]
KINDS: tuple[Kind, ...] = ("kill", "freeze")
SERVICE_INTERVAL_SECONDS, FUNCTION_INTERVAL_SECONDS = 5.0, 2.0
"""Mean time between two strikes on services, and on functions."""
FREEZE_SECONDS = (0.5, 8.0)
"""Range of the duration of a freeze, around the session timeout of the broker."""
STRIKE_FREE_SHARE = 0.05
"""Share of the run at its beginning, and at its end, without strikes."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One signal to a service or function.

    Attributes
    ----------
    target : name of a service, e.g. ``postgres``, or of a function.
    seconds : duration of a freeze.
    pick : selects one of a function's processes; 0 is the first, 1 is beyond the last.
    """

    at_seconds: float
    target: str
    kind: Kind
    seconds: float = 0.0
    pick: float = 0.0


def plan(seed: int, seconds: float, services: Sequence[str], functions: Sequence[str]) -> tuple[Strike, ...]:
    """Return the strikes of one run in order; each service is struck once before any is struck again."""
    rng = Random(seed)  # noqa: S311 - for its seed
    strikes = [
        *_spread(rng, seconds, SERVICE_INTERVAL_SECONDS, services),
        *_spread(rng, seconds, FUNCTION_INTERVAL_SECONDS, functions),
    ]
    return tuple(sorted(strikes, key=lambda strike: strike.at_seconds))


def _spread(rng: Random, seconds: float, every: float, targets: Sequence[str]) -> list[Strike]:
    """Return one strike at a random time in each of equal intervals."""
    if not targets:
        return []
    count = max(1, round(seconds * (1 - 2 * STRIKE_FREE_SHARE) / every))
    span = seconds * (1 - 2 * STRIKE_FREE_SHARE) / count
    return [
        _strike(rng, round(seconds * STRIKE_FREE_SHARE + (number + rng.random()) * span, 2), target, kind)
        for number, (target, kind) in enumerate(islice(_shuffled(rng, targets), count))
    ]


def _shuffled(rng: Random, targets: Sequence[str]) -> Iterator[tuple[str, Kind]]:
    """Yield every target once, then again with the other kind of strike, and so on."""
    while True:
        kinds = {target: rng.sample(KINDS, len(KINDS)) for target in targets}
        for turn in range(len(KINDS)):
            yield from ((target, kinds[target][turn]) for target in rng.sample(list(targets), len(targets)))


def _strike(rng: Random, at_seconds: float, target: str, kind: Kind) -> Strike:
    frozen, pick = round(rng.uniform(*FREEZE_SECONDS), 2), round(rng.random(), 3)
    return Strike(at_seconds, target, kind, frozen if kind == "freeze" else 0.0, pick)
