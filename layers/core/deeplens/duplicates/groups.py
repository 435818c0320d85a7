"""How groups of duplicates form, join and split: the connected components of links between images."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


def components[N: Hashable](links: Iterable[tuple[N, N]]) -> list[set[N]]:
    """The connected components of a graph, each once."""
    near: dict[N, set[N]] = defaultdict(set)
    for one, other in links:
        near[one].add(other)
        near[other].add(one)
    found, seen = [], set[N]()
    for start in near:
        waiting, component = [start], set[N]()
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
class GroupNode:
    """An existing group as a node beside the images, which are nodes by their ids."""

    id: str


@dataclass(frozen=True, slots=True)
class Joined:
    """One component of linked images: the oldest of its groups (None for a new one), the others, new members."""

    group_id: str | None
    absorbed: tuple[str, ...]
    members: frozenset[str]


def join(links: Sequence[tuple[str, str]], group_of: Mapping[str, str], born: Mapping[str, datetime]) -> list[Joined]:
    """Decide how links between images change groups; the groups' other members are not needed.

    Parameters
    ----------
    group_of : groups of the linked images that have one.
    born : when these groups were created; the oldest keeps its id.
    """
    memberships = [(image, GroupNode(group_of[image])) for link in links for image in link if image in group_of]
    graph: list[tuple[str | GroupNode, str | GroupNode]] = [*links, *memberships]
    joined = []
    for component in components(graph):
        groups = [node.id for node in component if isinstance(node, GroupNode)]
        groups.sort(key=lambda group: (born[group], group))
        added = frozenset(node for node in component if isinstance(node, str) and node not in group_of)
        joined.append(Joined(groups[0] if groups else None, tuple(groups[1:]), added))
    return joined


def split(members: Collection[str], links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The parts that a group splits into, largest first, then by lowest id; single images leave the group.

    The first part keeps the group's id.
    """
    inside = [link for link in links if link[0] in members and link[1] in members]
    return sorted(components(inside), key=lambda part: (-len(part), min(part)))
