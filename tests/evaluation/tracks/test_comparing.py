"""Samples of videos score as videos that stand there as often; comparisons of tracks say what can be told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pagoda.evaluation.coco.bootstrap import draw_samples, widened_tail
from pagoda.evaluation.comparing_tracks import ENOUGH_VIDEOS, FEWEST_VIDEOS, compare_tracks
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

KINDS = LabelMap.from_names(["person", "dog"])


def walk(name, random, num_frames=6):
    """Objects of two classes that wander, each with its own id."""
    rows = []
    for identity in range(random.integers(2, 6)):
        corner, label = random.uniform(0, 200, 2), int(random.integers(2))
        for frame in range(num_frames):
            corner = corner + random.normal(size=2) * 3
            rows.append((frame, identity + 1, [*corner, *(corner + 40)], label))
    return made(name, rows, num_frames)


def made(name, rows, num_frames=6):
    rows = sorted(rows, key=lambda row: row[0])
    frames, ids, boxes, labels = zip(*rows, strict=True) if rows else ([], [], [], [])
    return Tracks(
        np.array(frames, np.int64),
        np.array(ids, np.int64),
        np.array(boxes, float).reshape(-1, 4),
        np.ones(len(rows)),
        np.array(labels, np.int64),
        KINDS,
        num_frames,
        (300, 300),
        name,
    )


def followed(truth, random, skill):
    """Found with the chance `skill`, near the object; identities change now and then; some boxes anywhere."""
    rows = []
    for frame, identity, box, label in zip(
        truth.frames.tolist(), truth.track_ids.tolist(), truth.boxes, truth.labels.tolist(), strict=True
    ):
        if random.random() < skill:
            switched = identity + 100 * int(random.random() > skill)
            rows.append((frame, switched, (box + random.normal(size=4) * 3).tolist(), label))
        if random.random() < 0.15:
            corner = random.uniform(0, 200, 2)
            rows.append((frame, 1000 + len(rows), [*corner, *(corner + 40)], label))
    return made(truth.name, rows, truth.num_frames)


def world(seed, num_videos, *skills):
    random = np.random.default_rng(seed)
    truths = [walk(f"video {number}", random) for number in range(num_videos)]
    return truths, [[followed(truth, random, skill) for truth in truths] for skill in skills]


def evaluator_of(truths, found, **options):
    evaluator = TrackEvaluator(**options)
    for truth, each in zip(truths, found, strict=True):
        evaluator.update(truth, each)
    return evaluator


@pytest.mark.parametrize("survive", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_samples_score_as_videos_that_stand_there_as_often(survive, seed):
    truths, (found,) = world(seed, 4, 0.7)
    truths.append(made("nothing in it", []))
    found.append(made("nothing in it", [(0, 1, [0, 0, 9, 9], 0)]))
    options = {"matches_survive_gaps": survive}
    drawn = np.concatenate([np.ones((1, 5), int), draw_samples(5, 4, seed), [[0, 0, 0, 0, 5]]])
    scores = evaluator_of(truths, found, **options).video_counts().metrics(drawn)
    for row, times in enumerate(drawn):
        names = [f"{place}/{copy}" for place, count in enumerate(times) for copy in range(count)]
        sides = (
            [replace(side[int(name.split("/")[0])], name=name) for name in names] for side in (truths, found)
        )
        expected = evaluator_of(*sides, **options).result().metrics
        assert list(scores) == ["HOTA", "DetA", "AssA", "MOTA", "IDF1"]
        for name, values in scores.items():
            np.testing.assert_allclose(values[row], expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_much_better_is_told_in_words_and_by_video():
    truths, sides = world(2, 12, 0.4, 0.95)
    result = compare_tracks(*(evaluator_of(truths, side) for side in sides), rounds=300)
    for name in ("HOTA", "MOTA", "IDF1"):
        part = result.parts[name]
        assert 0 < part.low < part.difference < part.high
        assert f"{name}: the second is better by {100 * part.difference:.1f} points" in result.table()
    assert [each.hota for each in result.videos] == sorted(
        (each.hota for each in result.videos), reverse=True
    )
    alone = [evaluator_of(truths, side).result().per_video for side in sides]
    for each in result.videos:
        assert each.hota == pytest.approx(alone[1][each.video]["HOTA"] - alone[0][each.video]["HOTA"])
    assert "12 videos, 300 bootstrap samples" in result.table() and "found from IoU 0.5" in result.table()
    assert json.loads(json.dumps(result.to_dict()))["parts"]["HOTA"]["low"] > 0


def test_the_order_of_the_videos_does_not_matter():
    truths, (first, second) = world(3, 6, 0.5, 0.9)
    turned = evaluator_of(truths[::-1], second[::-1])
    one = compare_tracks(evaluator_of(truths, first), turned, rounds=50)
    other = compare_tracks(evaluator_of(truths, first), evaluator_of(truths, second), rounds=50)
    assert one.parts == other.parts and one.videos == other.videos


def test_hardly_better_says_how_many_videos_would_tell():
    truths, sides = world(4, 8, 0.8, 0.82)
    told = compare_tracks(*(evaluator_of(truths, side) for side in sides), rounds=300).verdict("HOTA")
    assert told.startswith("cannot be told: ") and told.endswith(" videos") and "takes about" in told


def test_too_few_videos_have_no_interval():
    truths, sides = world(5, FEWEST_VIDEOS - 1, 0.3, 0.95)
    result = compare_tracks(*(evaluator_of(truths, side) for side in sides), rounds=50)
    assert np.isnan(result.parts["HOTA"].low) and result.parts["HOTA"].difference > 0.1
    assert "in 4 of the at least 5 videos that an interval takes" in result.verdict("HOTA")
    assert result.to_dict()["parts"]["HOTA"]["low"] is None and "better by" not in result.table()
    alone = compare_tracks(*(evaluator_of(truths[:1], side[:1]) for side in sides), rounds=5)
    assert alone.verdict("MOTA").startswith("cannot be told: +")


def test_the_same_twice_and_nothing_at_all():
    truths, (side,) = world(6, 6, 0.6)
    same = compare_tracks(evaluator_of(truths, side), evaluator_of(truths, side), rounds=20)
    assert same.videos == [] and "cannot be told: +0.0 points" in same.verdict("HOTA")
    empty = [made(each.name, []) for each in truths]
    nothing = compare_tracks(evaluator_of(empty, side), evaluator_of(empty, empty), rounds=20)
    assert nothing.verdict("HOTA") == "nothing to compare: no objects"
    assert nothing.to_dict()["parts"]["HOTA"]["ap"] is None


def test_sides_that_do_not_fit():
    truths, (side,) = world(7, 5, 0.6)
    whole = evaluator_of(truths, side)
    with pytest.raises(ValueError, match="only one side was scored on the video 'video 4'"):
        compare_tracks(whole, evaluator_of(truths[:4], side[:4]))
    with pytest.raises(ValueError, match="other rules"):
        compare_tracks(whole, evaluator_of(truths, side, min_iou=0.3))
    with pytest.raises(ValueError, match="nothing to compare yet"):
        compare_tracks(whole, TrackEvaluator())
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        compare_tracks(whole, whole, rounds=0)


def unequal_videos(random, count, gap):
    """Counts of two trackers, MOTA's and IDF1's, in videos of differing length and difficulty."""
    objects = np.round(np.exp(random.normal(6, 0.8, count)))
    difficulty = random.normal(0, 0.8, count)
    for better in (0, gap):
        own = difficulty + random.normal(0, 0.25, count) - better
        found = random.binomial(objects.astype(int), 1 / (1 + np.exp(own - 1)))
        extra = random.poisson(0.1 * objects * np.exp(0.3 * difficulty))
        switches = random.poisson(0.02 * objects * np.exp(0.5 * own))
        yield np.stack([objects, objects - found + extra + switches])


def change(sides):
    before, now = (1 - wrong / objects for objects, wrong in sides)
    return now - before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "least", "most"),
    [
        (FEWEST_VIDEOS - 1, 0.0, 0.9),
        (FEWEST_VIDEOS, 0.9, 0.95),
        (10, 0.9, 0.95),
        (ENOUGH_VIDEOS, 0.925, 0.97),
    ],
)
def test_intervals_of_few_videos_hold_the_truth(count, least, most):
    """With fewer than `FEWEST_VIDEOS` they do not, which is why there are none."""
    truth = change(side.sum(1) for side in unequal_videos(np.random.default_rng(0), 400_000, 0.3))
    held = []
    for seed in range(1500):
        random = np.random.default_rng(seed + 10)
        sides = list(unequal_videos(random, count, 0.3))
        drawn = draw_samples(count, 2000, seed)
        tail = 100 * widened_tail(0.025, count)
        low, high = np.percentile(change((drawn @ side.T).T for side in sides), [tail, 100 - tail])
        held.append(low <= truth <= high)
    assert least <= np.mean(held) <= most
