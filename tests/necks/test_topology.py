"""Node lists of pyramids, against those written out in the original's tests."""

import pytest

from pagoda.necks.topology import Node, bifpn_nodes, check_topology, panet_nodes, qufpn_nodes

# (level, inputs) per node
BIFPN = {
    (3, 7): [
        (6, (3, 4)),
        (5, (2, 5)),
        (4, (1, 6)),
        (3, (0, 7)),
        (4, (1, 7, 8)),
        (5, (2, 6, 9)),
        (6, (3, 5, 10)),
        (7, (4, 11)),
    ],
    (3, 8): [
        (7, (4, 5)),
        (6, (3, 6)),
        (5, (2, 7)),
        (4, (1, 8)),
        (3, (0, 9)),
        (4, (1, 9, 10)),
        (5, (2, 8, 11)),
        (6, (3, 7, 12)),
        (7, (4, 6, 13)),
        (8, (5, 14)),
    ],
    (2, 7): [
        (6, (4, 5)),
        (5, (3, 6)),
        (4, (2, 7)),
        (3, (1, 8)),
        (2, (0, 9)),
        (3, (1, 9, 10)),
        (4, (2, 8, 11)),
        (5, (3, 7, 12)),
        (6, (4, 6, 13)),
        (7, (5, 14)),
    ],
}


@pytest.mark.parametrize("levels", BIFPN)
def test_bifpn(levels: tuple[int, int]) -> None:
    assert bifpn_nodes(*levels) == BIFPN[levels]


def test_panet_goes_down_and_up_once() -> None:
    assert panet_nodes(3, 5) == [(5, (2,)), (4, (1, 3)), (3, (0, 4)), (3, (5,)), (4, (4, 6)), (5, (3, 7))]


def test_qufpn_joins_a_bifpn_and_its_mirror_image() -> None:
    nodes = qufpn_nodes(3, 7)
    assert len(nodes) == 21
    assert nodes[:8] == BIFPN[3, 7]
    # Mirrored: level 3 stands for 7, input i for 4 - i, and numbers go on where the first half ended.
    mirrored = [
        (10 - level, tuple(4 - i if i < 5 else i + 8 for i in inputs)) for level, inputs in BIFPN[3, 7]
    ]
    assert nodes[8:16] == mirrored
    assert nodes[16:] == [(3, (8, 20)), (4, (9, 19)), (5, (10, 18)), (6, (11, 17)), (7, (12, 16))]


@pytest.mark.parametrize("topology", [bifpn_nodes, panet_nodes, qufpn_nodes])
@pytest.mark.parametrize(("low", "high"), [(3, 4), (3, 7), (2, 8)])
def test_own_level_comes_first_and_all_is_in_order(topology, low: int, high: int) -> None:
    nodes = topology(low, high)
    check_topology(nodes, low, high)
    levels = [*range(low, high + 1), *(node.level for node in nodes)]
    for node in nodes:
        assert levels[node.inputs[0]] == node.level
        assert all(abs(levels[source] - node.level) <= 1 for source in node.inputs)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (bifpn_nodes(3, 7)[:-1], "no node at level 7; every level from 3 to 7 needs one"),
        (bifpn_nodes(3, 7)[1:], "node 5 at level 5 reads feature 5, but only 0 … 4 exist"),
        ([Node(9, (0,)), *bifpn_nodes(3, 7)], "node 5 must stand at a level from 3 to 7"),
        ([Node(3, ()), *bifpn_nodes(3, 7)], "and read something, got Node"),
    ],
)
def test_a_missing_node_is_named(nodes: list[Node], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_topology(nodes, 3, 7)
