"""PoseTrack's scores: cases measured with poseval, its result on a real sequence, and worked examples."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.evaluation.tracks.pose_frames import points_inside
from pagoda.evaluation.tracks.pose_protocol import PROTOCOLS, PoseTrackProtocol
from pagoda.evaluation.tracks.pose_result import COLUMNS, PoseTrackResult, average_precision
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.structures.posetrack_skeletons import PERSON_15, PERSON_17, POSETRACK_15
from pagoda.structures.tracks import UNLINKED, Tracks

pytestmark = pytest.mark.medium

POSE = np.stack([np.arange(15) * 40.0, np.arange(15) % 4 * 40.0], 1)
SECOND = POSE + np.array([0, 1000])
"""A person far from the first; the head box is 30 × 40, the head size 30, and 15 pixels are the limit"""


def moved(right, down):
    return POSE + np.array([right, down])


def video(frames, *, truth=False, joints=PERSON_15, **more):
    """`frames`: for each a list of people (id, pose, score)."""
    rows = [(frame, *person) for frame, people in enumerate(frames) for person in people]
    n, k = len(rows), len(joints.skeleton)
    return Tracks(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.zeros((n, 4)),
        np.array([row[3] if len(row) > 3 else 1.0 for row in rows], dtype=float),
        np.zeros(n, dtype=np.int64),
        joints,
        len(frames),
        (200, 600),
        "v",
        keypoints=np.array([row[2] for row in rows], dtype=float).reshape(n, k, 2),
        head_boxes=np.tile([0.0, 0, 30, 40], (n, 1)) if truth else None,
        **more,
    )


def without(pose, joint):
    pose = pose.copy()
    pose[joint] = np.nan
    return pose


def score(truth, found, protocol="clean", **options):
    evaluator = PoseTrackEvaluator(PROTOCOLS[protocol], **options)
    evaluator.update(truth, found)
    return evaluator.result()


ONE = [[(0, POSE)]] * 4
TWO = [[(0, POSE), (1, SECOND)]]
CASES = {
    "A": (ONE, [[(0, POSE, 0.9)]] * 4),
    "B": (ONE, [[(int(f > 1), moved(6, 0), 0.9)] for f in range(4)]),
    "B2": (ONE, [[(0, moved(15, 0), 0.9)]] * 4),
    "B3": (ONE, [[(0, moved(15.01, 0), 0.9)]] * 4),
    "C": (
        TWO * 4,
        [
            [(0, POSE, 0.9), (1, SECOND, 0.8), (2, moved(0, 5000), 0.95)],
            [(0, POSE, 0.9)],
            [(1, POSE, 0.9), (0, SECOND, 0.7)],
            [(0, POSE, 0.9)],
        ],
    ),
    "D": (TWO * 3, [[(0, POSE, 0.9), (1, SECOND, 0.8)], [], [(0, POSE, 0.9)]]),
    "E": ([[(0, POSE)], *[[(0, without(POSE, 14))]] * 3], [[(0, POSE, 0.9)]] * 4),
}
# (case, protocol): AP, MOTA, MOTP, precision, recall. All but "clean" were measured with poseval.
EXPECTED = {
    ("A", "clean"): (100, 100, 100, 100, 100),
    ("A", "poseval-current"): (100, 100, 100, 100, 100),
    ("B", "clean"): (100, 66.667, 80, 100, 100),
    ("B", "poseval-2017"): (100, 66.667, 80, 100, 100),
    ("B", "poseval-current"): (100, 66.667, 53.333, 100, 100),
    ("B2", "clean"): (100, 100, 50, 100, 100),
    ("B2", "poseval-current"): (100, 100, 0, 100, 100),
    ("B3", "poseval-current"): (0, -100, 0, 0, 0),
    ("C", "clean"): (64.286, 33.333, 100, 83.333, 83.333),
    ("C", "poseval-current"): (64.286, 33.333, 100, 83.333, 83.333),
    ("D", "clean"): (50, 50, 100, 100, 50),
    ("D", "poseval-2017"): (50, 100, 100, 100, 100),
    ("D", "poseval-current"): (50, 33.333, 100, 66.667, 66.667),
    ("E", "clean"): (95, 86.667, 100, 95.556, 100),
    ("E", "poseval-current"): (95, 86.667, 100, 95.556, 100),
}


@pytest.mark.parametrize(("case", "protocol"), EXPECTED)
def test_cases_measured_with_poseval(case, protocol):
    truth, found = CASES[case]
    metrics = score(video(truth, truth=True), video(found), protocol).metrics
    values = [metrics[name] for name in ("mAP", "MOTA", "MOTP", "precision", "recall")]
    assert values == pytest.approx(EXPECTED[case, protocol], abs=1e-3)


def test_joints_half_a_head_away_are_right_and_a_hair_further_are_not():
    for case, expected in (("B2", 100), ("B3", 0)):
        truth, found = CASES[case]
        result = score(video(truth, truth=True), video(found))
        assert result.metrics["mAP"] == expected
    assert np.isnan(result.metrics["MOTP"]), "nothing was found, so there is no mean distance"


def test_the_dummy_pose_of_an_empty_frame_costs_its_one_joint():
    truth, found = CASES["D"]
    dummy = np.full((15, 2), np.nan)
    dummy[0] = 0, 0
    people = [found[0], [(0, dummy - np.array([0, 3000]), -100.0)], found[2]]
    result = score(video(truth, truth=True), video(people), "poseval-current")
    values = [result.metrics[name] for name in ("mAP", "MOTA", "precision", "recall")]
    assert values == pytest.approx([50, 48.333, 97.778, 50], abs=1e-3)
    assert result.per_joint["right_ankle"]["MOTA"] == 25 and result.per_joint["neck"]["MOTA"] == 50


def test_a_joint_predicted_but_not_annotated_is_wrong():
    truth, found = CASES["E"]
    per_joint = score(video(truth, truth=True), video(found)).per_joint
    assert per_joint["head_top"]["AP"] == 25 and per_joint["head_top"]["MOTA"] == -100


@pytest.mark.parity
def test_a_real_sequence_as_poseval_scores_it(shared_data):
    folder = shared_data / "eval_cases" / "poseval_bonn"
    expected = json.loads((folder / "expected.json").read_text())
    (truth,), (found,) = read_posetrack(folder / "gt"), read_posetrack(folder / "pred")
    result = score(truth, found, "poseval-current")
    for ours, group, theirs in (
        ("AP", "AP", "ap"), ("AP_precision", "AP", "precision"), ("AP_recall", "AP", "recall"),
        ("MOTA", "tracking", "mota"), ("MOTP", "tracking", "motp"), ("precision", "tracking", "pre"),
        ("recall", "tracking", "rec"),
    ):  # fmt: skip
        values = [result.per_joint[joint][ours] for joint in expected["joints"][:-1]]
        values.append(result.metrics["mAP" if ours == "AP" else ours])
        known = [np.nan if value is None else value for value in expected[group][theirs]]
        # Equal scores are left in numpy's order, which depends on the processor: AP may move by 0.05.
        tolerance = 0.05 if ours == "AP" else 1e-5
        np.testing.assert_allclose(values, known, atol=tolerance, err_msg=ours)
    clean = score(truth, found).metrics
    assert clean["MOTA"] == pytest.approx(result.metrics["MOTA"]) and clean["MOTP"] > 74
    assert np.isnan(score(truth, found).per_joint["nose"]["AP"]), "nobody's nose is annotated"


def test_ties_do_not_depend_on_the_order_of_the_people():
    scores, right = np.array([0.9, 0.9, 0.8]), np.array([True, False, True])
    together = average_precision(scores, right, 2)["AP"]
    assert (
        together == average_precision(scores[[1, 0, 2]], right[[1, 0, 2]], 2)["AP"] == pytest.approx(200 / 3)
    )


def test_each_person_keeps_one_prediction_and_the_other_is_wrong():
    """Both predictions are near the first person; the second is taken for nobody, not for the free one."""
    nearby = [(0, POSE, 0.9), (1, moved(3, 0), 0.8)]
    result = score(video(TWO * 2, truth=True), video([nearby] * 2))
    assert result.metrics["mAP"] == 50 and result.metrics["AP_precision"] == 50


def test_regions_to_ignore_hide_joints_of_both_sides():
    square = np.array([[-20.0, 980], [700, 980], [700, 1400], [-20, 1400]])
    regions = {0: (square,), 1: (square,), 2: (square,)}
    truth = video(TWO * 3, truth=True, ignore_regions=regions)
    only_first = video([[(0, POSE, 0.9)]] * 3)
    assert score(truth, only_first).metrics["MOTA"] == 100
    assert score(truth, video([[(0, POSE, 0.9), (4, SECOND, 0.9)]] * 3)).metrics["mAP"] == 100


def test_points_inside_against_a_plain_walk_round_the_polygon():
    rng = np.random.default_rng(0)
    polygon = np.array([[0.0, 0], [10, 2], [4, 4], [9, 9], [1, 8]])
    points = rng.uniform(-1, 11, (200, 2))

    def winding(point):
        """The angles under which the edges are seen add up to a full turn inside, to nothing outside."""
        ways = polygon - point
        angles = np.arctan2(ways[:, 1], ways[:, 0])
        turns = (np.roll(angles, -1) - angles + np.pi) % (2 * np.pi) - np.pi
        return abs(turns.sum()) > np.pi

    assert points_inside(points, polygon).tolist() == [winding(point) for point in points]
    assert (
        not points_inside(polygon, polygon).any() and not points_inside(np.array([[5.0, 1.0]]), polygon).any()
    )


def test_only_labelled_frames_count():
    truth = video([[(0, POSE)], [], [], [(0, POSE)], [(0, POSE)]], truth=True)
    found = video([[(0, POSE, 0.9)]] * 5)
    assert score(truth, found).metrics["mAP"] == 100, "nothing said: frames without people are not labelled"
    labelled = replace(truth, labelled_frames=np.array([True, True, False, True, True]))
    assert score(labelled, found).metrics["AP_precision"] == 75


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("side", ["ground truth", "predictions"])
def test_average_precision_needs_no_identities(side, protocol):
    truth, found = video(ONE, truth=True), video(CASES["A"][1])
    if side == "predictions":
        found = replace(found, track_ids=np.full(len(found), UNLINKED))
    else:
        truth = replace(truth, track_ids=np.full(len(truth), UNLINKED))
    result = score(truth, found, protocol, with_hota=True)
    tracking = {name: value for name, value in result.metrics.items() if not name.startswith(("mAP", "AP_"))}
    assert result.metrics["mAP"] == 100 and set(tracking) == {"MOTA", "MOTP", "precision", "recall", "HOTA"}
    assert np.isnan(list(tracking.values())).all()
    said = {
        "ground truth": "4 people of the ground truth have no track id",
        "predictions": "no prediction has a track id",
    }
    assert (
        len(result.notes) == 1 and said[side] in result.notes[0] and result.table().endswith(result.notes[0])
    )


def test_who_is_found_but_not_tracked_counts_for_average_precision_alone():
    """The second person never has an identity; tracking misses them in three frames, precision does not."""
    truth = video(TWO * 4, truth=True)
    found = video([[(0, POSE, 0.9), (UNLINKED, SECOND, 0.8)]] * 4)
    metrics = score(truth, found).metrics
    assert (metrics["mAP"], metrics["MOTA"], metrics["recall"], metrics["precision"]) == (100, 50, 50, 100)
    assert score(truth, found).notes == ()


def test_one_video_without_linked_predictions_among_others_is_one_in_which_nobody_was_followed():
    evaluator = PoseTrackEvaluator()
    for name, track in (("v", 0), ("w", UNLINKED)):
        pair = video(ONE, truth=True), video([[(track, POSE, 0.9)]] * 4)
        evaluator.update(*(replace(each, name=name) for each in pair))
    assert evaluator.result().metrics["MOTA"] == 50 and evaluator.result().metrics["mAP"] == 100


def test_joints_nobody_annotated_are_left_out_or_zero():
    truth, found = [[(0, without(POSE, 13))]] * 3, [[(0, without(POSE, 13), 0.9)]] * 3
    assert score(video(truth, truth=True), video(found)).metrics["mAP"] == 100
    result = score(video(truth, truth=True), video(found), "poseval-current")
    assert result.metrics["mAP"] == pytest.approx(1400 / 15) and result.per_joint["nose"]["AP"] == 0


def test_columns_are_those_of_the_published_tables():
    """Means of left and right; the published columns of Detect-and-Track give back its totals."""
    ap = {"Head": 67.5, "Shou": 70.2, "Elb": 62.0, "Wri": 51.7, "Hip": 60.7, "Knee": 58.7, "Ankl": 49.8}
    mota = {"Head": 61.7, "Shou": 65.5, "Elb": 57.3, "Wri": 45.7, "Hip": 54.3, "Knee": 53.1, "Ankl": 45.7}
    column_of = {joint: column for column, joints in COLUMNS.items() for joint in joints}
    rows = {
        joint: {"AP": ap[column_of[joint]], "MOTA": mota[column_of[joint]]} for joint in POSETRACK_15.names
    }
    result = PoseTrackResult(rows, PoseTrackProtocol(), 1)
    assert result.columns("AP") == pytest.approx({**ap, "Total": 60.58}, abs=0.01)
    assert result.metrics["MOTA"] == pytest.approx(55.2, abs=0.05)
    assert "67.5" in result.table() and result.to_dict()["metrics"]["mAP"] == pytest.approx(60.58, abs=0.01)


def test_keypoint_hota_of_worked_examples():
    """All joints 6 of 30 pixels off: similarity 0.6; the rest as for boxes."""
    truth = video([[(0, POSE)]] * 5, truth=True)
    perfect = score(truth, video([[(0, POSE, 0.9)]] * 5), with_hota=True).metrics["HOTA"]
    assert perfect == pytest.approx(100)
    off = score(truth, video([[(0, moved(6, 0), 0.9)]] * 5), with_hota=True).metrics["HOTA"]
    assert off == pytest.approx(100 * 12 / 19, abs=1e-6)
    renamed = video([[(int(f > 1), POSE, 0.9)] for f in range(5)])
    assert score(truth, renamed, with_hota=True).metrics["HOTA"] == pytest.approx(70.711, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g, p: (replace(g, head_boxes=None), p), "has no head boxes"),
        (
            lambda g, p: (replace(g, head_boxes=g.head_boxes * 0), p),
            r"a head box without area in frame 0 \(counted",
        ),
        (lambda g, p: (g, replace(p, num_frames=5)), "4 frames in the ground truth and 5 in the predictions"),
        (lambda g, p: (g, replace(p, keypoints=None)), "has no named keypoints in the predictions"),
        (
            lambda g, p: (g, video([[(0, np.zeros((17, 2)), 0.9)]] * 4, joints=PERSON_17)),
            r"15 joints in the ground truth and 17 in the predictions \(missing: neck; too many: head_bottom, left_ear",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(change, said):
    truth, found = change(video(ONE, truth=True), video(CASES["A"][1]))
    with pytest.raises(ValueError, match=said):
        score(truth, found)
