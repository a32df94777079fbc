"""Pyramids as lists of nodes: who is fused with whom. Inputs are numbered first, finest level first."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple


class Node(NamedTuple):
    """A fusion of features of a pyramid; what it makes gets the next free number.

    >>> Node(4, inputs=(1, 2))  # of levels 3, 4, 5: what it makes at level 4 of levels 4 and 5 gets number 3
    Node(level=4, inputs=(1, 2))
    """

    level: int
    """where its output stands"""
    inputs: tuple[int, ...]
    """numbers of the features it fuses; its own level's first, the resampled neighbour last"""


Topology = Callable[[int, int], Sequence[Node]]
"""(lowest, highest level) to nodes; a level's last node is its output"""


class _Numbering:
    """Hands out numbers and remembers which ones stand at each level."""

    def __init__(self, low: int, high: int) -> None:
        self.at = {level: [level - low] for level in range(low, high + 1)}
        self.nodes: list[Node] = []
        self.next = high - low + 1

    def add(self, level: int, *inputs: int) -> None:
        self.nodes.append(Node(level, inputs))
        self.at[level].append(self.next)
        self.next += 1


def bifpn_nodes(low: int, high: int) -> list[Node]:
    """BiFPN (Tan 2020, figure 2d): down with two inputs each, up again with the level's input as a third.

    >>> bifpn_nodes(3, 5)
    [Node(level=4, inputs=(1, 2)), Node(level=3, inputs=(0, 3)), Node(level=4, inputs=(1, 3, 4)), \
Node(level=5, inputs=(2, 5))]
    """
    made = _Numbering(low, high)
    for level in range(high - 1, low - 1, -1):
        made.add(level, made.at[level][-1], made.at[level + 1][-1])
    for level in range(low + 1, high + 1):
        made.add(level, *made.at[level], made.at[level - 1][-1])
    return made.nodes


def panet_nodes(low: int, high: int) -> list[Node]:
    """Path aggregation (Liu 2018) in the same terms: one chain down, one chain up, no shortcuts.

    >>> [tuple(node) for node in panet_nodes(3, 4)]
    [(4, (1,)), (3, (0, 2)), (3, (3,)), (4, (2, 4))]
    """
    made = _Numbering(low, high)
    made.add(high, made.at[high][-1])
    for level in range(high - 1, low - 1, -1):
        made.add(level, made.at[level][-1], made.at[level + 1][-1])
    made.add(low, made.at[low][-1])
    for level in range(low + 1, high + 1):
        made.add(level, made.at[level][-1], made.at[level - 1][-1])
    return made.nodes


def qufpn_nodes(low: int, high: int) -> list[Node]:
    """Quad FPN (Xing 2020): BiFPN and its mirror image from the same inputs, joined level by level.

    >>> [node.level for node in qufpn_nodes(3, 4)]  # down, up; up, down; joined
    [3, 4, 4, 3, 3, 4]
    """
    made = _Numbering(low, high)
    first = {level: numbers[0] for level, numbers in made.at.items()}
    halves = []
    for start, end, step in ((high, low, -1), (low, high, 1)):
        # There: every level but the first fuses its input; back: the same with the way there as a third.
        there = dict(first)
        for level in range(start + step, end + step, step):
            made.add(level, first[level], there[level - step])
            there[level] = made.next - 1
        back = {end: there[end]}
        for level in range(end - step, start - step, -step):
            ways = (first[level],) if level == start else (first[level], there[level])
            made.add(level, *ways, back[level + step])
            back[level] = made.next - 1
        halves.append(back)
    for level in range(low, high + 1):
        made.add(level, halves[0][level], halves[1][level])
    return made.nodes


TopologyName = Literal["bifpn", "panet", "qufpn"]
TOPOLOGIES: dict[TopologyName, Topology] = {
    "bifpn": bifpn_nodes,
    "panet": panet_nodes,
    "qufpn": qufpn_nodes,
}


def check_topology(nodes: Sequence[Node], low: int, high: int) -> None:
    """Raises ValueError where a node reads what is not made yet, or a level has no output.

    >>> check_topology([Node(3, (0, 1)), Node(3, (2, 1))], 3, 4)
    Traceback (most recent call last):
    ValueError: the topology has no node at level 4; every level from 3 to 4 needs one, whose output it is
    """
    levels = range(low, high + 1)
    for index, node in enumerate(nodes):
        number = len(levels) + index
        unknown = [source for source in node.inputs if not 0 <= source < number]
        if unknown:
            raise ValueError(
                f"node {number} at level {node.level} reads feature {unknown[0]}, but only 0 … {number - 1} exist"
                " by then; list nodes in the order they are made, the one it needs first"
            )
        if node.level not in levels or not node.inputs:
            raise ValueError(
                f"node {number} must stand at a level from {low} to {high} and read something, got {node}"
            )
    bare = sorted(set(levels) - {node.level for node in nodes})
    if bare:
        raise ValueError(
            f"the topology has no node at level {', '.join(map(str, bare))};"
            f" every level from {low} to {high} needs one, whose output it is"
        )
