"""Skeletons: what is told from names, what is known, what is refused."""

import pytest

from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import (
    COCO_17,
    CROWDPOSE_14,
    DEFAULT_SIGMA,
    Skeleton,
    known_skeleton,
    pairs_by_name,
)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("nose", "left_eye", "right_eye"), ((1, 2),)),
        (("rightEye", "leftEye"), ((0, 1),)),
        (("L_hip", "R_hip", "hip"), ((0, 1),)),
        (("hip.left", "hip.right"), ((0, 1),)),
        (("Left Hand", "Right Hand"), ((0, 1),)),
        (("shoulder_l", "shoulder_r"), ((0, 1),)),
        (("head", "tail"), None),
        (("cleft", "bright"), None),  # only parts of words
        (("left_eye", "nose"), None),
        (("paw1LH", "paw4RH"), None),
    ],
)
def test_pairs_are_told_from_names(names, pairs):
    assert pairs_by_name(names) == pairs


def test_known_skeletons():
    assert len(COCO_17) == 17 and len(CROWDPOSE_14) == 14
    # Of COCO's keypoints all but the nose have a partner, which is the one beside it.
    assert COCO_17.flip_pairs == tuple((k, k + 1) for k in range(1, 17, 2))
    for skeleton in (COCO_17, CROWDPOSE_14):
        assert known_skeleton(list(skeleton.names)) is skeleton
        for a, b in skeleton.flip_pairs:
            assert skeleton.sigmas[a] == skeleton.sigmas[b]
        mirrored = {a: b for pair in skeleton.flip_pairs for a, b in (pair, pair[::-1])}
        edges = {frozenset(edge) for edge in skeleton.edges}
        assert {frozenset(mirrored.get(k, k) for k in edge) for edge in edges} == edges, "bones are symmetric"
    assert known_skeleton(["nose"]) is None


def test_what_is_not_given():
    plain = Skeleton(("head", "tail"))
    assert plain.sigmas == (DEFAULT_SIGMA, DEFAULT_SIGMA) and plain.flip_pairs is None
    assert Skeleton(("head", "tail"), flip_pairs=()).flip_pairs == ()
    assert Skeleton(("left_a", "b"), flip_pairs=()).without_partner == ("left_a",)
    assert COCO_17.without_partner == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ()}, "at least one keypoint"),
        ({"names": ("a", "b", "a")}, "keypoint name given twice in the skeleton: a"),
        ({"sigmas": (0.1,)}, r"one sigma above 0 per keypoint \(2\), got \(0.1,\)"),
        ({"sigmas": (0.1, 0.0)}, "one sigma above 0"),
        ({"edges": ((0, 2),)}, r"edge \(0, 2\) must join two of the keypoints 0 … 1"),
        ({"edges": ((1, 1),)}, r"edge \(1, 1\)"),
        ({"flip_pairs": ((0, -1),)}, r"flip pair \(0, -1\)"),
        ({"names": ("a", "b", "c"), "flip_pairs": ((0, 1), (1, 2))}, "a keypoint stands in two flip pairs"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(**{"names": ("a", "b"), **fields})


def test_a_head_of_another_skeleton_is_refused():
    COCO_17.check_head(17)
    with pytest.raises(
        ValueError,
        match=r"head predicts 14 keypoints but the skeleton names 17: nose, .*, … .17 in all.; build",
    ):
        COCO_17.check_head(14)


@pytest.mark.parametrize("skeleton", [COCO_17, Skeleton(("head", "tail")), Skeleton(("a",), flip_pairs=())])
def test_skeletons_travel_with_the_label_map(skeleton):
    labels = LabelMap(("person",), (1,), skeleton)
    assert LabelMap.from_dict(labels.to_dict()) == labels
    assert "skeleton" not in LabelMap(("person",), (1,)).to_dict()
