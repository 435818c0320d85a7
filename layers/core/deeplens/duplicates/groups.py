"""How groups of duplicates form, join and split: the connected components of links between images."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


def components(links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The connected components of a graph, each once."""
    near: dict[str, set[str]] = defaultdict(set)
    for one, other in links:
        near[one].add(other)
        near[other].add(one)
    found = []
    while near:
        component, waiting = set[str](), [next(iter(near))]
        while waiting:
            node = waiting.pop()
            component.add(node)
            waiting += near.pop(node, ())
        found.append(component)
    return found


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
    # A group is a node beside the images: its id is never an image's.
    memberships = [(image, group_of[image]) for link in links for image in link if image in group_of]
    joined = []
    for component in components([*links, *memberships]):
        groups = sorted(component & born.keys(), key=lambda group: (born[group], group))
        added = frozenset(component - born.keys() - group_of.keys())
        joined.append(Joined(groups[0] if groups else None, tuple(groups[1:]), added))
    return joined


def split(members: Collection[str], links: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The parts that a group splits into, largest first, then by lowest id; single images leave the group.

    The first part keeps the group's id.
    """
    inside = [link for link in links if link[0] in members and link[1] in members]
    return sorted(components(inside), key=lambda part: (-len(part), min(part)))
