"""One battery for every linker: the contract, what all must get right, and what only some can."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from pagoda.data.tracks.mot import read_mot
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.tracking.linking import LINKERS, create_tracker, link, link_tracks

pytestmark = pytest.mark.medium

ALL = pytest.mark.parametrize("name", LINKERS)
MODERN = pytest.mark.parametrize("name", ["byte", "ocsort", "tubes"])
PARALLEL = {"starts": [[10, 10], [10, 70], [10, 130]], "speeds": [[4, 0], [5, 0], [3, 1]]}


def scores(truth, found):
    evaluator = TrackEvaluator()
    evaluator.update(truth, replace(found.linked(), name=truth.name))
    return evaluator.result().metrics


@ALL
def test_rows_come_back_as_they_were(name, walkers):
    tracker = create_tracker(name)
    for before in walkers.seen(walkers.true_tracks(**PARALLEL, num_frames=6), noise=1):
        after = tracker.update(before)
        assert torch.equal(after.boxes, before.boxes) and torch.equal(after.scores, before.scores)
        assert after.track_ids.dtype == torch.int64 and len(after.track_ids) == len(before)
        assert before.track_ids is None, "what was handed over stays as it was"


@ALL
def test_people_who_do_not_meet_keep_their_ids(name, walkers):
    truth = walkers.true_tracks(**PARALLEL, num_frames=40)
    found = scores(truth, link(walkers.seen(truth, noise=0.5), create_tracker(name)))
    assert found["IDF1"] == 1 and found["IDSW"] == 0 and found["HOTA"] > 0.85


@ALL
def test_frames_without_anybody_are_fine_and_a_reset_forgets(name, walkers):
    nobody, one = walkers.detections([], []), walkers.detections([[10, 10, 30, 60]], [0.97])
    tracker = create_tracker(name)
    ids = [tracker.update(frame).track_ids.tolist() for frame in (nobody, one, one, one, nobody, nobody)]
    assert ids[0] == ids[4] == ids[5] == [] and ids[3][0] >= 0
    tracker.reset()
    first = tracker.update(one).track_ids.tolist()
    assert first == create_tracker(name).update(one).track_ids.tolist()


@ALL
def test_no_id_twice_in_a_frame_and_none_is_lost(name, walkers):
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(60):
        n = rng.integers(0, 15)
        corners = rng.uniform(0, 150, (n, 2))
        frames.append(walkers.detections(np.concatenate([corners, corners + 30], 1), rng.random(n)))
    found = link(frames, create_tracker(name))  # Tracks refuse an id that stands twice in a frame
    assert len(found) == sum(map(len, frames))
    assert found.num_frames == 60


@MODERN
def test_somebody_missed_for_a_while_comes_back_as_the_same(name, walkers):
    truth = walkers.true_tracks([[10, 40], [200, 110]], [[3, 0], [-3, 0]], num_frames=50)
    missed = [(frame, 0) for frame in (*range(12, 16), *range(30, 33))]
    frames = walkers.seen(truth, missed=missed, noise=0.3)
    kept = scores(truth, link(frames, create_tracker(name)))
    forgotten = scores(truth, link(frames, create_tracker("reference")))
    assert kept["IDSW"] == 0 and kept["IDF1"] > 0.9
    assert forgotten["IDSW"] == 2, "the reference linker has no memory"


@MODERN
def test_after_a_gap_the_old_id_is_told_at_the_first_sight(name, walkers):
    truth = walkers.true_tracks([[10, 40]], [[3, 0]], num_frames=12)
    found = link(walkers.seen(truth, missed=[(6, 0)]), create_tracker(name))
    ids = {frame: found.track_ids[found.frames == frame].tolist() for frame in range(12)}
    assert ids[6] == [] and ids[7] == ids[8] == ids[5] and ids[5][0] >= 0


@MODERN
def test_fewer_switches_than_the_reference_where_people_cross_unseen(name, walkers):
    """Two rows walk towards each other; who is behind is missed for some frames, as in front of a camera."""
    truth = walkers.true_tracks(
        [[0, 10], [230, 14], [0, 100], [240, 96]], [[5, 0], [-5, 0], [4, 0], [-4, 0]], num_frames=50
    )
    rng = np.random.default_rng(2)
    missed = [(f, i) for f in range(20, 29) for i in (1, 3)] + [(int(f), 0) for f in rng.integers(5, 50, 4)]
    frames = walkers.seen(truth, missed=missed, noise=1)
    switches = [scores(truth, link(frames, create_tracker(n)))["IDSW"] for n in (name, "reference")]
    assert switches[0] < switches[1]


@MODERN
def test_classes_are_linked_apart(name, walkers):
    animals = LabelMap.from_names(["cat", "dog"])
    frames = [
        walkers.detections([[10, 10, 60, 60]], [0.97], [label], animals) for label in (0, 0, 0, 1, 1, 1, 1)
    ]
    ids = link(frames, create_tracker(name)).track_ids
    assert len(set(ids[:3][ids[:3] >= 0]) & set(ids[3:][ids[3:] >= 0])) == 0


@ALL
def test_memory_does_not_grow_with_the_video(name, walkers):
    truth = walkers.true_tracks([[10, 10], [60, 90]], [[0.05, 0], [0, 0.02]], num_frames=400)
    tracker, sizes = create_tracker(name), []
    for number, frame in enumerate(walkers.seen(truth, missed=[(f, f % 2) for f in range(0, 400, 7)])):
        tracker.update(frame)
        if number in (49, 399):
            sizes.append(len(pickle.dumps(tracker)))
    assert sizes[1] < sizes[0] * 1.1


@ALL
def test_tracks_can_be_linked_anew(name, walkers):
    truth = walkers.true_tracks(**PARALLEL, num_frames=10)
    again = link_tracks(replace(truth, track_ids=np.full(len(truth), UNLINKED)), create_tracker(name))
    assert np.array_equal(again.boxes, truth.boxes) and again.name == truth.name
    assert scores(truth, again)["IDF1"] == 1


@ALL
def test_boxes_that_are_no_numbers_are_named(name, walkers):
    with pytest.raises(
        ValueError, match=r"boxes to link must be finite xyxy pixels; those of rows \[1\] are not"
    ):
        create_tracker(name).update(walkers.detections([[0, 0, 9, 9], [0, 0, np.nan, 9]], [0.99, 0.99]))


@MODERN
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_numbers_of_any_kind_are_linked(name, kind, walkers):
    """As a model in mixed precision reports them, and one whose gradients were left on."""
    one = walkers.detections([[10, 10, 60, 60], [100, 10, 150, 60]], [0.97, 0.98])
    small = replace(one, boxes=one.boxes.to(kind), scores=one.scores.to(kind))
    learning = replace(one, boxes=one.boxes.requires_grad_(), scores=one.scores.requires_grad_())
    for frame in (small, learning):
        assert (
            create_tracker(name).update(frame).track_ids.tolist()
            == create_tracker(name).update(one).track_ids.tolist()
        )


def test_an_unknown_linker_gets_the_nearest_name():
    with pytest.raises(ValueError, match="no linker is called 'ocsrot'; did you mean 'ocsort'"):
        create_tracker("ocsrot")


def test_a_threshold_is_the_linkers_own_unless_given(walkers):
    weak = walkers.detections([[10, 10, 60, 60]], [0.7])
    assert create_tracker("reference").update(weak).track_ids.tolist() == [UNLINKED]
    assert create_tracker("reference", min_score=0.6).update(weak).track_ids.tolist() == [0]


@pytest.mark.parity
def test_table_of_the_documentation(shared_data):
    """docs/tracking.md: on real detections, byte and ocsort are ahead of the reference linker."""
    rows = {}
    for name in LINKERS:
        evaluator = TrackEvaluator()
        for video in ("TUD-Campus", "TUD-Stadtmitte"):
            folder = shared_data / "mot_tud" / video
            found = read_mot(folder / "det" / "det.txt", score_range=(0, 100))
            linked = link_tracks(found, create_tracker(name, min_score=0.3))
            evaluator.update(read_mot(folder / "gt" / "gt.txt", is_truth=True), linked.linked())
        rows[name] = evaluator.result().metrics
    for name in ("byte", "ocsort"):
        for metric in ("HOTA", "MOTA", "IDF1"):
            assert rows[name][metric] > rows["reference"][metric]


def test_from_detections_to_detections(walkers):
    found = link(walkers.seen(walkers.true_tracks(**PARALLEL, num_frames=3)), create_tracker("byte"), "a")
    assert isinstance(found, Tracks) and found.name == "a" and len(found.at(2)) == 3
