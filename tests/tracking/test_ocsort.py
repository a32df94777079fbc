"""What is OC-SORT's own: direction, the last place seen, the path walked again."""

import numpy as np

from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.motion import AreaMotion
from pagoda.tracking.ocsort import OCSortTracker, along_the_path, direction_agreement


def ids(tracker, frames):
    return [tracker.update(frame).track_ids.tolist() for frame in frames]


def at(x, y=50.0):
    return [x, y, x + 20, y + 50]


def test_agreement_is_half_straight_on_and_minus_half_back():
    earlier = np.array([at(0)] * 5, dtype=float)
    last = np.array([at(10)] * 3 + [at(0)] * 2, dtype=float)
    boxes = np.array([at(20), at(-20), at(0, 70), at(20), at(0)], dtype=float)
    np.testing.assert_allclose(direction_agreement(earlier, last, boxes), [0.5, -0.5, 0, 0, 0], atol=1e-9)


def test_a_track_is_told_at_its_third_sight_but_at_once_in_the_beginning(walkers):
    one, two = walkers.detections([at(10)], [0.9]), walkers.detections([at(10), at(200)], [0.9, 0.9])
    assert ids(OCSortTracker(), [two]) == [[1, 2]]
    late = ids(OCSortTracker(), [*[one] * 5, *[two] * 3])
    assert [row[1] for row in late[5:]] == [UNLINKED, UNLINKED, 2]


def test_found_again_at_the_last_place_when_the_prediction_ran_away(walkers):
    """Somebody walks fast, stops unseen, and stands where last seen."""
    walk = [walkers.detections([at(8 * step)], [0.9]) for step in range(10)]
    stands = [walkers.detections([], [])] * 6 + [walkers.detections([at(76)], [0.9])] * 2
    assert ids(OCSortTracker(), walk + stands)[-1] == [1]


def test_after_a_gap_the_filter_knows_what_it_would_know_had_it_seen_the_way():
    """A walk to the right, then unseen for five frames, then 7 pixels back."""
    model = AreaMotion()
    walked = [np.array([at(5.0 * step)]) for step in range(12)]
    motion = model.start(walked[0])
    for box in walked[1:]:
        motion = model.correct(model.predict(motion), box)
    found = along_the_path(model, motion, np.array([at(55.0)]), np.array([at(48.0)]), gaps=np.array([6]))
    seen_all_the_way = motion
    for step in range(1, 6):
        box = np.array([at(55 - 7 * step / 6)])
        seen_all_the_way = model.correct(model.predict(seen_all_the_way), box)
    np.testing.assert_allclose(found, model.predict(seen_all_the_way), atol=1e-9)
    drifted = motion
    for _ in range(6):
        drifted = model.predict(drifted)
    assert abs(model.boxes(found)[0, 0] - 48) < 8 < 30 < abs(model.boxes(drifted)[0, 0] - 48)


def test_direction_settles_who_is_who_when_paths_cross(walkers):
    """Equal boxes meet; going straight on is cheaper than turning back."""
    truth = walkers.true_tracks([[0, 40], [160, 44]], [[8, 0], [-8, 0]], num_frames=20)
    frames = [truth.at(frame) for frame in range(20)]
    found = np.array(ids(OCSortTracker(), frames))
    assert (found == found[0]).all()


def test_tracks_unseen_for_too_long_are_forgotten(walkers):
    one, nobody = walkers.detections([at(10)], [0.9]), walkers.detections([], [])
    found = ids(
        OCSortTracker(max_lost_frames=4, min_seen=1), [one, one, one, *[nobody] * 3, one, *[nobody] * 5, one]
    )
    assert found[6] == [1] and found[-1] == [2]
