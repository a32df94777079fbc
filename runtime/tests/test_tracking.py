"""Linkers give the ids that Pagoda's give, and the assignment costs what scipy's costs."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from pagoda_runtime import ByteTracker, Detections, LabelMap, OCSortTracker
from pagoda_runtime.tracking.assignment import linear_sum_assignment
from pagoda_runtime.tracking.association import assign
from pagoda_runtime.tracking.linkers import card_tracker, create_tracker

pytestmark = pytest.mark.medium

LABELS = LabelMap(("cat", "dog"), (1, 2))
OPTIONS = [{}, {"min_score": 0.3, "max_lost_frames": 3}]


def sequence(rng: np.random.Generator, num_frames: int = 40, count: int = 9) -> list[Detections]:
    """Objects that wander, cross, hide and come back, with scores that rise and fall; false ones among them."""
    places, speeds = rng.uniform(20, 180, (count, 2)), rng.normal(0, 5, (count, 2))
    sides, labels = rng.uniform(15, 60, (count, 2)), rng.integers(0, 2, count)
    frames = []
    for _ in range(num_frames):
        places, speeds = places + speeds, speeds + rng.normal(0, 1, speeds.shape)
        speeds[(places < 0) | (places > 200)] *= -1
        seen = rng.random(count) < 0.85
        corners = places[seen] + rng.normal(0, 1.5, (seen.sum(), 2))
        false = rng.uniform(0, 150, (rng.integers(0, 3), 2))
        boxes = np.concatenate([np.hstack([corners, corners + sides[seen]]), np.hstack([false, false + 30])])
        kinds = np.concatenate([labels[seen], rng.integers(0, 2, len(false))])
        scores = rng.uniform(0.05, 1, len(boxes)).astype(np.float32)
        frames.append(Detections(boxes.astype(np.float32), scores, kinds, (250, 250), LABELS))
    frames[5] = frames[5][:0]
    return frames


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["byte", "ocsort"])
def test_ids_are_those_of_pagoda(rng, name, options):
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("pagoda.structures.instances")
    linking = pytest.importorskip("pagoda.tracking.linking")
    theirs = type(linking.create_tracker(name))(**options)
    ours = {"byte": ByteTracker, "ocsort": OCSortTracker}[name](**options)
    linked = 0
    for _ in range(4):
        theirs.reset()
        ours.reset()
        for frame in sequence(rng):
            tensors = map(torch.from_numpy, (frame.boxes, frame.scores, frame.labels))
            expected = theirs.update(structures.Detections(*tensors, frame.image_size, LABELS)).track_ids
            found = ours.update(frame).track_ids
            assert found.tolist() == expected.tolist()
            linked += int((found >= 0).sum())
    assert linked > 300


@pytest.mark.parametrize("name", ["byte", "ocsort"])
def test_options_are_those_of_pagoda(name):
    linking = pytest.importorskip("pagoda.tracking.linking")
    theirs, ours = linking.create_tracker(name), create_tracker(name)
    said = [
        {each.name: getattr(tracker, each.name) for each in fields(tracker) if each.name != "model"}
        for tracker in (theirs, ours)
    ]
    assert said[0] == said[1]


def test_an_object_keeps_its_id():
    """Needs no torch."""
    for tracker in (ByteTracker(), OCSortTracker(min_seen=1)):
        for frame in range(6):
            start, speed = np.array([[10.0, 10, 30, 30], [100, 100, 140, 140]]), np.array([[3.0], [-2.0]])
            boxes = start + frame * speed
            found = Detections(boxes, np.array([0.9, 0.8]), np.array([0, 1]), (200, 200), LABELS)
            assert tracker.update(found).track_ids.tolist() == [1, 2]


def test_wrong_boxes_and_names_are_refused():
    boxes = np.array([[0.0, 0, 1, 1], [0, 0, np.nan, 1]])
    found = Detections(boxes, np.ones(2), np.zeros(2, int), (9, 9), LABELS)
    with pytest.raises(ValueError, match=r"finite xyxy pixels; those of rows \[1\] are not"):
        ByteTracker().update(found)
    with pytest.raises(ValueError, match="tracker must be one of byte, ocsort or card, got 'bite'"):
        create_tracker("bite")


def test_pairs_are_those_of_scipy(rng):
    optimize = pytest.importorskip("scipy.optimize")
    for number in range(400):
        shape = tuple(rng.integers(1, 14, 2))
        costs = rng.normal(size=shape) if number % 2 else rng.integers(0, 4, shape).astype(float)  # ties, too
        rows, columns = linear_sum_assignment(costs)
        expected = optimize.linear_sum_assignment(costs)
        assert len(set(rows)) == len(set(columns)) == min(shape)
        assert np.isclose(costs[rows, columns].sum(), costs[expected].sum())
        assert (rows.tolist(), columns.tolist()) == tuple(map(np.ndarray.tolist, expected))


def slow_least_cost(costs: np.ndarray) -> float:
    """Every way to pair, one after the other."""
    if costs.shape[0] > costs.shape[1]:
        costs = costs.T
    if not len(costs):
        return 0.0
    others = (np.delete(costs[1:], column, 1) for column in range(costs.shape[1]))
    return min(cost + slow_least_cost(rest) for cost, rest in zip(costs[0], others, strict=True))


def test_no_way_to_pair_costs_less(rng):
    for _ in range(60):
        costs = rng.normal(size=tuple(rng.integers(1, 5, 2)))
        rows, columns = linear_sum_assignment(costs)
        assert np.isclose(costs[rows, columns].sum(), slow_least_cost(costs))


def test_what_may_not_pair_stays_alone():
    costs = np.array([[0.1, np.inf], [np.inf, 0.9]])
    assert assign(costs).tolist() == [0, 1] and assign(costs, max_cost=0.5).tolist() == [0, -1]
    assert assign(np.full((2, 3), np.inf)).tolist() == [-1, -1, -1] and assign(np.zeros((0, 2))).tolist() == [
        -1,
        -1,
    ]


def with_looks(frames: list[Detections], rng: np.random.Generator) -> list[Detections]:
    return [replace(f, appearance=rng.normal(size=(len(f), 6)).astype(np.float32)) for f in frames]


@pytest.mark.parametrize("name", ["byte", "ocsort"])
def test_ids_are_those_of_pagoda_with_looks_poses_and_masks(rng, name):
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("pagoda.structures.instances")
    linking = pytest.importorskip("pagoda.tracking.linking")
    theirs, ours, linked = linking.create_tracker(name), create_tracker(name), 0
    for frame in with_looks(sequence(rng), rng):
        masks = rng.random((len(frame), 250, 250)) < 0.5
        tensors = map(torch.from_numpy, (frame.boxes, frame.scores, frame.labels))
        looks = torch.from_numpy(frame.appearance)
        expected = theirs.update(
            structures.Detections(
                *tensors, frame.image_size, LABELS, masks=torch.from_numpy(masks), appearance=looks
            )
        ).track_ids
        found = ours.update(replace(frame, masks=masks)).track_ids
        assert found.tolist() == expected.tolist()
        linked += int((found >= 0).sum())
    assert linked > 50


def test_the_files_own_linker():
    settings = {
        "linker": "ocsort",
        "numbers": {"min_seen": 1.0, "min_iou": 0.2},
        "metric": "HOTA",
        "split": "a",
    }
    tracker = card_tracker({"linker": json.dumps(settings)})
    assert isinstance(tracker, OCSortTracker) and (tracker.min_seen, tracker.min_iou) == (1, 0.2)
    assert card_tracker({"linker": json.dumps(settings)}, min_score=0.7).min_score == 0.7
    with pytest.raises(ValueError, match="holds no linker; pagoda track tune"):
        card_tracker({})
    with pytest.raises(ValueError, match="unknown here; install a newer"):
        card_tracker({"linker": json.dumps({**settings, "numbers": {"max_speed": 1}})})
    for wrong in (float("inf"), float("nan"), -1, "5", True, None):
        with pytest.raises(ValueError, match="must have a number from 0 on as max_lost_frames"):
            card_tracker({"linker": json.dumps({**settings, "numbers": {"max_lost_frames": wrong}})})
    for more, said in (({"camera": "moving"}, "camera motion"), ({"appearance": "model"}, "compares looks")):
        with pytest.warns(UserWarning, match=said):
            card_tracker({"linker": json.dumps({**settings, **more}), "usage": "boxes:"})
