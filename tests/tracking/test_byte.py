"""What is ByteTrack's own: weak detections, the second look at new tracks, lost ones, doubles."""

from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.byte import ByteTracker

BOX, FAR = [10, 10, 60, 110], [200, 50, 250, 150]


def ids(tracker, frames):
    return [tracker.update(frame).track_ids.tolist() for frame in frames]


def test_a_weak_detection_continues_a_track_but_starts_none(walkers):
    strong, weak = walkers.detections([BOX], [0.9]), walkers.detections([BOX], [0.2])
    assert ids(ByteTracker(), [strong, weak, weak, strong]) == [[1], [1], [1], [1]]
    assert ids(ByteTracker(), [weak, weak, weak]) == [[UNLINKED]] * 3
    assert ids(ByteTracker(), [strong, walkers.detections([BOX], [0.05])]) == [[1], [UNLINKED]]


def test_after_the_first_frame_a_track_needs_two_looks(walkers):
    one, two = walkers.detections([BOX], [0.9]), walkers.detections([BOX, FAR], [0.9, 0.9])
    assert ids(ByteTracker(), [two]) == [[1, 2]]
    assert ids(ByteTracker(), [one, two, two, two]) == [[1], [1, UNLINKED], [1, 2], [1, 2]]
    assert ids(ByteTracker(), [one, two, one, two, two])[3:] == [[1, UNLINKED], [1, 2]], (
        "a single look is forgotten"
    )


def test_a_new_track_needs_a_margin(walkers):
    unsure = walkers.detections([BOX], [0.55])
    assert ids(ByteTracker(), [unsure, unsure]) == [[UNLINKED], [UNLINKED]]
    assert ids(ByteTracker(new_margin=0), [unsure, unsure]) == [[1], [1]]


def test_a_high_threshold_leaves_room_for_the_margin(walkers):
    sure, unsure = walkers.detections([BOX], [0.97]), walkers.detections([BOX], [0.92])
    assert ids(ByteTracker(min_score=0.9), [sure, sure]) == [[1], [1]]
    assert ids(ByteTracker(min_score=0.9), [unsure, unsure]) == [[UNLINKED], [UNLINKED]]


def test_a_weak_detection_does_not_bring_back_a_lost_track(walkers):
    strong, weak, nobody = (walkers.detections([BOX] * n, [s] * n) for n, s in ((1, 0.9), (1, 0.2), (0, 0)))
    assert ids(ByteTracker(), [strong, nobody, weak, strong]) == [[1], [], [UNLINKED], [1]]


def test_lost_tracks_are_forgotten_in_time(walkers):
    one, nobody = walkers.detections([BOX], [0.9]), walkers.detections([], [])
    kept = ids(ByteTracker(max_lost_frames=5), [one, *[nobody] * 5, one])
    gone = ids(ByteTracker(max_lost_frames=5), [one, *[nobody] * 6, one, one])
    assert kept[-1] == [1] and gone[-1] == [2]


def test_the_score_is_part_of_the_cost(walkers):
    """IoU 0.35 is enough at full score (cost 0.65), not at 0.5 (cost 0.83)."""
    moved = [BOX[0], BOX[1] + 48, BOX[2], BOX[3] + 48]
    first = walkers.detections([BOX], [0.9])
    tracker = ByteTracker(max_cost=0.8, near=0)
    assert ids(tracker, [first, walkers.detections([moved], [1.0])]) == [[1], [1]]
    tracker.reset()
    assert ids(tracker, [first, walkers.detections([moved], [0.5])]) == [[1], [UNLINKED]]


def test_who_steps_aside_of_his_box_goes_on_where_he_is_near(walkers):
    """A box 20 wide and 100 high moves by 25: by a quarter of its height, and out of itself; then by 60."""
    boxes = [[10, 10, 30, 110], [35, 10, 55, 110], [120, 10, 140, 110]]
    frames = [walkers.detections([box], [0.97]) for box in boxes]
    assert ids(ByteTracker(), frames) == [[1], [1], [UNLINKED]]
    assert ids(ByteTracker(near=0), frames) == [[1], [UNLINKED], [UNLINKED]]
    grown = walkers.detections([[35, 10, 65, 160]], [0.97])
    assert ids(ByteTracker(), [frames[0], grown]) == [[1], [UNLINKED]], "half as tall again is somebody else"
