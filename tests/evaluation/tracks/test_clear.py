"""CLEAR counts worked out by hand, frame by frame, and against TrackEval where the two rules agree."""

import numpy as np
import pytest

from pagoda.evaluation.tracks.clear import ClearCounts, ClearMatcher, most_pairs
from pagoda.evaluation.tracks.hota import FramePairs, create_metrics, sequence_data

NAN = np.nan


def count(*frames):
    """Each frame: objects, hypotheses, distances."""
    matcher = ClearMatcher()
    for objects, hypotheses, distances in frames:
        values = np.array(distances, dtype=float).reshape(len(objects), len(hypotheses))
        matcher.update(np.array(objects, dtype=np.int64), np.array(hypotheses, dtype=np.int64), values)
    return matcher.result()


def test_a_pair_survives_even_when_another_is_nearer():
    found = count(([1], [7], [0.1]), ([1], [8, 7], [0.1, 0.4]))
    assert (found.matches, found.switches, found.false_positives) == (2, 0, 1)
    assert found.distance == pytest.approx(0.5)


def test_a_pair_survives_gaps_of_any_length_unlike_trackevals():
    """Two objects; the second time the first hypothesis is gone, the third time it is back but less near."""
    frames = [
        ([0, 1], [0, 1], [[0.1, NAN], [NAN, 0.1]]),
        ([0, 1], [1], [[NAN], [0.1]]),
        ([0, 1], [0, 2, 1], [[0.4, 0.1, NAN], [NAN, NAN, 0.1]]),
    ]
    found = count(*frames)
    assert found.switches == 0 and found.metrics()["mota"] == pytest.approx(4 / 6)
    data = [FramePairs(np.array(o), np.array(h), 1 - np.nan_to_num(np.array(d), nan=1)) for o, h, d in frames]
    theirs = create_metrics()["CLEAR"].eval_sequence(sequence_data(data))
    assert theirs["IDSW"] == 1 and theirs["CLR_FP"] + theirs["CLR_FN"] == 2
    assert 1 - (2 + theirs["IDSW"]) / 6 == 0.5


def test_a_switch_is_counted_however_long_ago_the_other_was():
    found = count(([1], [7], [0.1]), ([1], [], []), ([], [7], []), ([1], [8], [0.1]))
    assert (found.switches, found.misses, found.false_positives, found.objects) == (1, 1, 1, 3)


def test_how_well_each_object_was_followed():
    always, never = ([1], [7], [0.1]), ([1], [], [])
    most = count(*[always] * 4, never)
    assert (most.mostly_tracked, most.partly_tracked, most.mostly_lost) == (1, 0, 0), "80 % is mostly"
    some = count(*[always] * 2, *[never] * 8)
    assert (some.partly_tracked, some.mostly_lost) == (1, 0), "20 % is not lost"
    assert count(always, *[never] * 9).mostly_lost == 1
    assert count(never, always, never, never, always, never).fragmentations == 1


def test_logged_distances_hold_what_py_motmetrics_logs():
    """Allowed pairs once; what was found once more; a switch to somebody never matched a third time."""
    found = count(([1], [7], [0.2]), ([1], [7], [0.2]), ([1], [8], [0.2]))
    assert found.distance == pytest.approx(0.6) and found.logged_distance == pytest.approx(1.4)


def test_counts_add_up_and_nothing_gives_nan():
    one = count(([1], [7], [0.1]), ([1], [], []))
    assert (one + one).misses == 2 * one.misses and (one + ClearCounts()) == one
    assert all(np.isnan(value) for value in ClearCounts().metrics().values())


def test_as_many_pairs_as_possible_come_before_near_ones():
    rows, columns = most_pairs(np.array([[0.0, 0.5], [0.4, NAN]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert len(most_pairs(np.full((2, 3), NAN))[0]) == len(most_pairs(np.zeros((0, 3)))[0]) == 0


def test_like_trackeval_where_nobody_is_ever_missed():
    """Every object has a hypothesis close enough in every frame, so that no pair has a gap to survive."""
    rng, frames, data = np.random.default_rng(0), [], []
    for _ in range(80):
        hypotheses = rng.permutation(9)[:6]
        distances = rng.uniform(0, 0.5, (4, 6))
        distances[:, 4:][rng.random((4, 2)) < 0.5] = NAN
        frames.append((list(range(4)), hypotheses, distances))
        data.append(FramePairs(np.arange(4), hypotheses, np.where(np.isnan(distances), 0, 1 - distances)))
    ours, theirs = count(*frames), create_metrics()["CLEAR"].eval_sequence(sequence_data(data))
    assert ours.misses == theirs["CLR_FN"] == 0 and ours.false_positives == theirs["CLR_FP"]
    assert ours.mostly_tracked == theirs["MT"] == 4
