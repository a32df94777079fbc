"""Tracks of a whole video, cut where people met and joined anew."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.tracking.linking import create_tracker
from pagoda.tracking.motion import move_boxes
from pagoda.tracking.tracklets import Relinker, _Joining

pytestmark = pytest.mark.medium


def people(
    walkers, starts, speeds, num_frames: int, *, unseen=lambda frame, person: False, noise=0.0
) -> Tracks:
    truth = walkers.true_tracks(starts, speeds, num_frames)
    rng = np.random.default_rng(0)
    seen = [not unseen(f, i) for f, i in zip(truth.frames.tolist(), truth.track_ids.tolist(), strict=True)]
    rows = truth.rows(np.flatnonzero(seen))
    return replace(rows, boxes=rows.boxes + rng.normal(0, noise, rows.boxes.shape))


def crossing(walkers) -> Tracks:
    """Two go towards each other at 3 pixels a frame, boxes of 20 pixels; in the middle one hides the other."""
    hides = lambda frame, person: person == 1 and 13 <= frame <= 17  # noqa: E731
    return people(walkers, [[20, 50], [110, 52]], [[3, 0], [-3, 0]], 30, unseen=hides, noise=0.5)


def same_people(found: Tracks, truth: Tracks) -> bool:
    """Whether each track is one person and each person one track."""
    pairs = set(zip(found.track_ids.tolist(), truth.track_ids.tolist(), strict=True))
    return len(pairs) == len(set(truth.track_ids.tolist())) == len(set(found.track_ids.tolist()))


def test_who_swapped_numbers_where_they_met_gets_them_back(walkers):
    truth = crossing(walkers)
    swapped = np.where(truth.frames >= 14, 1 - truth.track_ids, truth.track_ids)
    swapped = np.where(
        (truth.frames >= 18) & (truth.track_ids == 1), 7, swapped
    )  # and one a number of its own
    found = Relinker().relink(replace(truth, track_ids=swapped))
    assert same_people(found, truth) and not same_people(replace(truth, track_ids=swapped), truth)
    assert sorted(set(found.track_ids.tolist())) == [1, 2] and np.array_equal(found.boxes, truth.boxes)


def test_what_a_linker_said_is_mended(walkers):
    """Three who cross at 4 to 6 pixels a frame, each hidden while its box lies on another's."""
    starts, speeds = [[10, 50], [130, 51], [220, 49]], [[4, 0], [-1, 0], [-6, 0]]
    truth = walkers.true_tracks(starts, speeds, 36)
    places = truth.boxes[:, 0].reshape(36, 3)

    def hidden(frame: int, person: int) -> bool:
        others = [places[frame, other] for other in range(person)]
        return any(abs(places[frame, person] - other) < 12 for other in others)

    seen = people(walkers, starts, speeds, 36, unseen=hidden, noise=0.4)
    tracker = create_tracker("reference")
    linked = [tracker.update(walkers.detections(*frame_of(seen, frame))).track_ids for frame in range(36)]
    online = replace(seen, track_ids=np.concatenate([ids.numpy() for ids in linked]))
    assert len(set(online.track_ids.tolist())) > 3, "its linker forgets whoever is hidden"
    assert same_people(Relinker().relink(online), seen)


def frame_of(tracks: Tracks, frame: int) -> tuple[np.ndarray, np.ndarray]:
    here = tracks.frame_slice(frame)
    return tracks.boxes[here], tracks.scores[here]


@pytest.mark.parametrize(
    ("what", "joined"),
    [
        ({}, True),
        ({"gap": 31}, False),
        ({"other_class": True}, False),
        ({"aside": 40}, False),
        ({"grown": 2.0}, False),
        ({"back": True}, False),
    ],
)
def test_pieces_are_joined_along_one_straight_path_alone(what, joined):
    """Ten frames, a gap, ten frames, under two numbers."""
    frames = np.concatenate([np.arange(10), np.arange(10) + 10 + what.get("gap", 5)])
    x = 5.0 * frames if "back" not in what else np.where(frames < 10, 5 * frames, 120 - 5 * frames)
    late = frames >= 10
    x, height = x + np.where(late, what.get("aside", 0), 0), np.where(late, 50 * what.get("grown", 1), 50)
    boxes = np.stack([x, 90 - height / 2, x + 20, 90 + height / 2], 1)
    labels = (late & ("other_class" in what)).astype(np.int64)
    names = LabelMap.from_names(["person", "horse"])
    tracks = Tracks(frames, late.astype(int), boxes, np.ones(20), labels, names, num_frames=60)
    assert (len(set(Relinker().relink(tracks).track_ids.tolist())) == 1) == joined


def test_paths_are_straight_where_the_camera_moves(walkers):
    """It turns by a degree and comes nearer by a hundredth a frame, this way and that."""
    truth, boxes, moves = crossing(walkers), [], []
    seen_from = np.eye(3)
    for frame in range(truth.num_frames):
        turn, scale = 0.02 * (-1) ** (frame // 5), 1.01 ** ((-1) ** (frame // 7))
        along, across = scale * np.cos(turn), scale * np.sin(turn)
        step = np.array([[along, -across, 9 * (-1) ** (frame // 3)], [across, along, 2.0], [0, 0, 1]])
        seen_from = step @ seen_from
        moves.append(step[:2])
        boxes.append(move_boxes(truth.boxes[truth.frame_slice(frame)], seen_from[:2]))
    ids = np.where(truth.frames >= 14, 1 - truth.track_ids, truth.track_ids)
    moved = replace(truth, boxes=np.concatenate(boxes), track_ids=ids)
    found = Relinker().relink(moved, moves)
    assert same_people(found, truth) and np.array_equal(found.boxes, moved.boxes)
    assert not same_people(Relinker().relink(moved), truth)
    with pytest.raises(ValueError, match="camera must be of 30 frames, got 3"):
        Relinker().relink(moved, moves[:3])


def test_a_fast_one_goes_on_with_its_number(walkers):
    """Half its height a frame, as cars do, and for three frames unseen."""
    truth = people(walkers, [[0, 50]], [[25, 0]], 12, unseen=lambda frame, _: frame in (5, 6, 7))
    found = Relinker().relink(replace(truth, track_ids=(truth.frames > 6).astype(int)))
    assert set(found.track_ids.tolist()) == {1}


def test_nobody_and_what_is_in_no_track(walkers):
    truth = crossing(walkers)
    ids = np.where(truth.frames % 4 == 0, UNLINKED, truth.track_ids)
    found = Relinker().new_ids(replace(truth, track_ids=ids))
    assert np.array_equal(found == UNLINKED, ids == UNLINKED)
    assert not len(Relinker().new_ids(truth.rows(np.arange(0))))
    alone = Relinker().new_ids(replace(truth, track_ids=np.full(len(truth), UNLINKED)))
    assert (alone == UNLINKED).all()


def test_numbers_that_say_nothing_are_refused():
    for wrong, said in (
        ({"noise": 0.0}, "noise must be above 0"),
        ({"window": 0}, "window must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            Relinker(**wrong)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_distance_from_a_path_is_that_of_least_squares(walkers, seed):
    """Two pieces of straight walks far into a video: one line through both, its slope drawn towards standing still."""
    rng, how = np.random.default_rng(seed), Relinker(doubt=0.0, size_noise=1e6)
    first, length, gap, more = rng.integers(1, 30_000), *rng.integers(1, 9, 3)
    frames = np.concatenate([first + np.arange(length), first + length - 1 + gap + np.arange(more)])
    centers = (
        rng.uniform(0, 2000, 2)
        + (frames - first)[:, None] * rng.normal(0, 4, 2)
        + rng.normal(0, 3, (len(frames), 2))
    )
    half = np.array([10, 25])
    boxes = np.concatenate([centers - half, centers + half], 1)
    ids = (np.arange(len(frames)) >= length).astype(int)
    tracks = Tracks(
        frames, ids, boxes, np.ones(len(frames)), 0 * ids, walkers.PERSON, num_frames=int(frames[-1]) + 1
    )
    times = frames - frames.mean()
    rows = np.vstack([np.stack([np.ones(len(frames)), times], 1) / how.noise, [0, 1 / how.speed]])
    wanted = np.vstack([(centers - centers.mean(0)) / 50 / how.noise, [0, 0]])
    left = np.square(rows @ np.linalg.lstsq(rows, wanted)[0] - wanted).sum(0).max()
    expected = np.sqrt(left / (len(frames) - 1))
    assert _Joining(how, tracks)._cost(0, 1) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def by_hand(how: Relinker, tracks: Tracks) -> list[list[int]]:
    """The slow twin: all costs anew after each join, the least one first."""
    joining = _Joining(how, tracks)
    while True:
        offers = [
            (joining._cost(one, other), one, other)
            for one, others in joining._near.items()
            for other in others
            if other < one
        ]
        if not offers or min(offers)[0] > how.max_cost:
            return sorted(sorted(rows.tolist()) for rows in joining._pieces.values())
        list(joining._join(*min(offers)[1:]))


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_any_tracks_are_joined_as_by_hand_whatever_their_numbers(walkers, seed):
    rng = np.random.default_rng(seed)
    count, num_frames = rng.integers(1, 6), int(rng.integers(2, 25))
    starts, speeds = rng.uniform(0, 120, (count, 2)), rng.uniform(-6, 6, (count, 2))
    truth = people(walkers, starts, speeds, num_frames, unseen=lambda f, i: rng.random() < 0.2, noise=1.0)
    turns = truth.frames * 0  # each frame may have other numbers from some frame on
    for frame in rng.integers(0, num_frames, 2).tolist():
        turns += truth.frames >= frame
    ids = (truth.track_ids + turns) % count
    given_ids = replace(truth, track_ids=ids)
    found = Relinker().relink(given_ids)  # raises where a number stands twice in a frame
    groups = [np.flatnonzero(found.track_ids == each).tolist() for each in np.unique(found.track_ids)]
    assert sorted(groups) == by_hand(Relinker(), given_ids)
    other = Relinker().relink(replace(truth, track_ids=rng.permutation(count)[ids] * 3 + 5))
    assert np.array_equal(other.track_ids, found.track_ids)
