"""How groups of duplicates form, join and fall apart: what hangs together by links between images."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


def components(links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """What hangs together, each component once."""
    near: dict[str, set[str]] = defaultdict(set)
    for one, other in links:
        near[one].add(other)
        near[other].add(one)
    found, seen = [], set[str]()
    for start in near:
        waiting, component = [start], set[str]()
        while waiting:
            node = waiting.pop()
            if node not in component:
                component.add(node)
                waiting += near[node]
        if start not in seen:
            found.append(component)
            seen |= component
    return found


@dataclass(frozen=True, slots=True)
class Joined:
    """One component of what was linked: the oldest of its groups (None for a new one), the others, new members."""

    group_id: str | None
    absorbed: tuple[str, ...]
    members: frozenset[str]


def join(links: Sequence[tuple[str, str]], group_of: Mapping[str, str], born: Mapping[str, datetime]) -> list[Joined]:
    """How links between images change groups, without looking at the groups' other members.

    Parameters
    ----------
    group_of : groups of the linked images that have one.
    born : when these groups were made; the oldest keeps its id.
    """
    own = [(image, f"\0{group_of[image]}") for link in links for image in link if image in group_of]
    joined = []
    for component in components([*links, *own]):
        groups = sorted((node[1:] for node in component if node[0] == "\0"), key=lambda group: (born[group], group))
        added = frozenset(node for node in component if node[0] != "\0" and node not in group_of)
        joined.append(Joined(groups[0] if groups else None, tuple(groups[1:]), added))
    return joined


def split(members: Collection[str], links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The parts that a group falls into, largest first, of equal ones that with the lowest id; single images are none.

    The first keeps the group's id.
    """
    inside = [link for link in links if link[0] in members and link[1] in members]
    return sorted(components(inside), key=lambda part: (-len(part), min(part)))
