"""Detections speak in Pagoda's words, and say the same as JSON."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from pagoda_runtime import Detections, LabelMap
from pagoda_runtime.detections import Skeleton, run_lengths

pytestmark = pytest.mark.medium

LABELS = LabelMap(("cat", "größer"), (17, 90))


def draw(rng: np.random.Generator, count: int = 5, size: tuple[int, int] = (30, 40)) -> Detections:
    return Detections(
        rng.uniform(0, 30, (count, 4)).astype(np.float32),
        np.sort(rng.random(count).astype(np.float32))[::-1].copy(),
        rng.integers(0, 2, count),
        size,
        LABELS,
        masks=rng.random((count, *size)) < 0.5,
        mask_crops=rng.random((count, 6, 6)).astype(np.float32),
        keypoints=rng.uniform(0, 30, (count, 3, 2)).astype(np.float32),
        keypoint_scores=rng.random((count, 3)).astype(np.float32),
        track_ids=np.arange(count),
        file="a.jpg",
    )


def test_names_and_json_are_those_of_pagoda(rng):
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("pagoda.structures.instances")
    ours = draw(rng)
    own = {"found_by", "inclusive"}  # to paste masks anew; what converted weights have learnt
    assert {each.name for each in fields(ours)} == {each.name for each in fields(structures.Detections)} - own
    plain = {
        each.name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for each in fields(ours)
        if (value := getattr(ours, each.name)) is not None
    }
    theirs = structures.Detections(**plain)
    assert json.dumps(ours.to_dict()) == json.dumps(theirs.to_dict())
    assert repr(ours) == repr(theirs) and ours.names == theirs.names
    assert ours.above(0.5).to_dict() == theirs.above(0.5).to_dict()
    bare = {
        name: plain[name] for name in ("boxes", "scores", "labels", "image_size", "label_map", "keypoints")
    }
    alone = {name: getattr(ours, name) for name in bare}
    assert Detections(**alone).to_dict() == structures.Detections(**bare).to_dict()


def test_keypoints_are_named_as_pagoda_names_them_and_json_is_strict(rng):
    skeletons = pytest.importorskip("pagoda.structures.skeleton")
    face = skeletons.Skeleton(("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)))
    labels = LabelMap(LABELS.names, LABELS.category_ids, Skeleton.from_dict(face.to_dict()))
    found = replace(draw(rng), label_map=labels)
    found.keypoints[0, 1] = np.nan
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["skeleton"] == face.to_dict()
    assert plain["objects"][0]["keypoints"][3:5] == [None, None]
    assert "skeleton" not in found[:0].to_dict() and "skeleton" not in draw(rng).to_dict()


def slow_run_lengths(mask: np.ndarray) -> list[int]:
    runs, value, length = [], False, 0
    for pixel in mask.T.ravel().tolist():
        if pixel == value:
            length += 1
        else:
            runs.append(length)
            value, length = pixel, 1
    return [*runs, length]


def read(text: str) -> list[int]:
    """The runs in a text, character by character."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.997, 1.0])
def test_run_lengths_say_which_pixels(rng, share):
    for size in ((1, 1), (7, 1), (1, 9), (60, 90), (300, 400)):
        mask = rng.random(size) < share
        assert read(run_lengths(mask)) == slow_run_lengths(mask)
    block = np.zeros((400, 300), bool)
    block[17:320, 100:] = True
    assert read(run_lengths(block)) == slow_run_lengths(block)


def test_rows_are_taken_together(rng):
    found = draw(rng)
    two = found[[3, 1]]
    assert len(two) == 2 and two.track_ids.tolist() == [3, 1] and two.image_size == (30, 40)
    np.testing.assert_array_equal(two.masks, found.masks[[3, 1]])
    with pytest.raises(TypeError, match="slice, mask or list"):
        found[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": np.zeros((5, 3))}, r"boxes must be \(n, 4\) xyxy pixels, got \(5, 3\)"),
        ({"scores": np.zeros(4)}, "scores must have 5 rows like boxes, got 4"),
        ({"masks": np.zeros((5, 3, 4), bool)}, r"masks must be .*\(30, 40\), got \(5, 3, 4\)"),
        ({"keypoints": np.zeros((5, 3, 3))}, r"keypoints must be \(n, k, 2\) xy pixels"),
    ],
)
def test_wrong_shapes_are_refused(rng, change, said):
    found = draw(rng)
    given = {each.name: getattr(found, each.name) for each in fields(found)}
    with pytest.raises(ValueError, match=said):
        Detections(**given | change)
