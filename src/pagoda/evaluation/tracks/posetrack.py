"""PoseTrack's scores: average precision of joints, and CLEAR MOT of each joint followed through the video.

A joint is right when it lies within half a head size of the annotated one; the head size is 0.6 times the
diagonal of the annotated head box. People are matched by the share of joints that are right (for AP);
tracking scores match each joint on its own. G annotated people, P predicted ones, K joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pagoda.evaluation.tracks.clear import ClearCounts, ClearMatcher
from pagoda.evaluation.tracks.hota import (
    FramePairs,
    Scores,
    combine,
    create_metrics,
    hota_numbers,
    sequence_data,
)
from pagoda.evaluation.tracks.pose_frames import PoseFrame, pose_frames
from pagoda.evaluation.tracks.pose_protocol import PoseTrackProtocol
from pagoda.evaluation.tracks.pose_result import PoseTrackResult, average_precision
from pagoda.plain import checked
from pagoda.structures.tracks import UNLINKED, Tracks


@checked
@dataclass
class PoseTrackEvaluator:
    """PoseTrack's scores of followed poses: add videos with `update`, then ask for the `result`.

    All predictions count for average precision; those that belong to a track for the tracking scores, which are nan
    where the ground truth, or all of the predictions, have no identities.

    >>> import pagoda.data.drawn.walking as walking
    >>> from pagoda.data.tracks.posetrack_joints import to_posetrack_15
    >>> truth = to_posetrack_15(walking.WalkingFigures(num_videos=1, num_frames=4, seed=1)[0].tracks)
    >>> evaluator = PoseTrackEvaluator()
    >>> evaluator.update(truth, truth)
    >>> round(evaluator.result().metrics["mAP"], 6), evaluator.result().metrics["MOTA"]  # percent
    (100.0, 100.0)
    """

    protocol: PoseTrackProtocol = field(default_factory=PoseTrackProtocol)
    """how is counted where PoseTrack's programs differ; `PROTOCOLS` has those of published numbers"""
    with_hota: bool = False
    """also keypoint-HOTA, which takes longer and needs TrackEval"""

    def __post_init__(self) -> None:
        self._joints: tuple[str, ...] = ()
        self._videos: set[str] = set()
        self._scores: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._num_annotated = np.zeros(0, dtype=np.int64)
        self._counts: list[ClearCounts] = []
        self._hota: list[dict[str, Scores]] = []
        self._unnamed: dict[str, int] = {}
        """Video → people of the ground truth without an identity"""
        self._num_found = self._num_linked = 0
        self._metric = create_metrics()["HOTA"] if self.with_hota else None

    def update(self, truth: Tracks, found: Tracks) -> None:
        """Add one video. Raises ValueError when names, frames or joints differ, or head boxes are missing."""
        frames = pose_frames(truth, found, self.protocol.max_distance)
        assert truth.label_map.skeleton is not None
        joints = truth.label_map.skeleton.names
        if not self._videos:
            self._joints, self._num_annotated = joints, np.zeros(len(joints), dtype=np.int64)
            self._counts = [ClearCounts() for _ in joints]
            self._hota = [{} for _ in joints]
        if joints != self._joints:
            raise ValueError(
                f"'{truth.name}' has the joints {', '.join(joints)}; earlier videos: {', '.join(self._joints)}"
            )
        if truth.name in self._videos:
            raise ValueError(f"the video '{truth.name}' was already added; names of videos must differ")
        self._videos.add(truth.name)
        for frame in frames:
            self._scores.append(_judge(frame))
            self._num_annotated += frame.is_annotated.sum(0)
        self._track(truth.name, frames)

    def _track(self, video: str, frames: Sequence[PoseFrame]) -> None:
        """The scores that need identities: of everybody in the ground truth; who is found without one is left out."""
        unnamed = sum(int((frame.truth_ids == UNLINKED).sum()) for frame in frames)
        if unnamed:
            self._unnamed[video] = unnamed
            return
        linked = [frame.linked() for frame in frames]
        self._num_found += sum(len(frame.found_ids) for frame in frames)
        self._num_linked += sum(len(frame.found_ids) for frame in linked)
        tracked = linked[:-1] if self.protocol.drop_last_frame else linked
        for joint in range(len(self._joints)):
            self._counts[joint] = self._counts[joint] + _count_joint(tracked, joint, self.protocol)
            if self._metric is not None:
                data = sequence_data([_likeness(frame, joint) for frame in tracked])
                self._hota[joint][video] = self._metric.eval_sequence(data)

    def result(self) -> PoseTrackResult:
        """Scores of each joint and their means, in percent as PoseTrack prints them."""
        if not self._videos:
            raise ValueError("nothing to score yet; call update(truth, found) for each video")
        scores, flags, joints = (np.concatenate(values) for values in zip(*self._scores, strict=True))
        per_joint, missing = {}, self._missing_identities()
        for joint, name in enumerate(self._joints):
            mine = joints == joint
            ties = self.protocol.equal_scores
            row = average_precision(
                scores[mine], flags[mine], int(self._num_annotated[joint]), equal_scores=ties
            )
            row |= self._tracking_row(self._counts[joint])
            if self._metric is not None and self._num_annotated[joint] and not missing:
                row["HOTA"] = 100 * hota_numbers(combine(self._metric, self._hota[joint]))["HOTA"]
            elif self._metric is not None:
                row["HOTA"] = float("nan")
            if self.protocol.absent_joints_are_zero:
                zeroed = {"AP", "AP_precision", "AP_recall", "MOTP"}
                row = {k: 0.0 if k in zeroed and np.isnan(v) else v for k, v in row.items()}
            if missing:
                row = {k: v if k.startswith("AP") else float("nan") for k, v in row.items()}
            per_joint[name] = row
        return PoseTrackResult(per_joint, self.protocol, len(self._videos), missing)

    def _missing_identities(self) -> tuple[str, ...]:
        """Why there are no tracking scores, if so."""
        if self._unnamed:
            count, videos = sum(self._unnamed.values()), ", ".join(self._unnamed)
            return (f"no tracking scores: {count} people of the ground truth have no track id ({videos})",)
        if self._num_found and not self._num_linked:
            return ("no tracking scores: no prediction has a track id (pagoda track link gives them some)",)
        return ()

    def _tracking_row(self, counts: ClearCounts) -> dict[str, float]:
        metrics = counts.metrics()
        distance = counts.logged_distance / counts.found if counts.found else float("nan")
        if not self.protocol.motp_of_logged_events:
            distance = metrics["mean_distance"]
        values = {
            "MOTA": metrics["mota"],
            "MOTP": 1 - distance,
            "precision": metrics["precision"],
            "recall": metrics["recall"],
        }
        return {name: 100 * value for name, value in values.items()}


def _judge(frame: PoseFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether right, and joint number of every predicted joint of a frame."""
    people, joints = np.nonzero(frame.is_predicted)
    partner = _match_people(frame)
    is_right = np.zeros(len(people), bool)
    for row, (person, joint) in enumerate(zip(people, joints, strict=True)):
        if partner[person] >= 0:
            # nan where the joint is not annotated: then it is wrong, as PoseTrack counts.
            is_right[row] = frame.distances[person, partner[person], joint] <= frame.max_distance
    return frame.scores[people, joints], is_right, joints


def _match_people(frame: PoseFrame) -> np.ndarray:
    """(P,) the annotated person of each predicted one, or -1.

    Not a best assignment: each prediction keeps the person of whom it has most joints right, and each
    person then keeps the best of those predictions.
    """
    num_right = (frame.distances <= frame.max_distance).sum(-1)  # (P, G)
    shares = num_right / np.maximum(frame.is_annotated.sum(1), 1)
    partner = np.full(len(shares), -1)
    if not shares.size:
        return partner
    best = shares.argmax(1)
    only_best = np.where(np.arange(shares.shape[1]) == best[:, None], shares, 0)
    for person in range(shares.shape[1]):
        prediction = int(only_best[:, person].argmax())
        if only_best[prediction, person] > 0:
            partner[prediction] = person
    return partner


def _count_joint(frames: Sequence[PoseFrame], joint: int, protocol: PoseTrackProtocol) -> ClearCounts:
    matcher, extra, before = ClearMatcher(), ClearCounts(), None
    for frame in frames:
        shown = frame
        if frame.is_empty and protocol.empty_frames == "one_of_each":
            extra += ClearCounts(objects=1, misses=1, false_positives=1)
            continue
        if frame.is_empty and protocol.empty_frames == "repeat_previous":
            if before is None:
                continue
            shown = before
        objects, people = shown.is_annotated[:, joint], shown.is_predicted[:, joint]
        distances = shown.distances[:, :, joint][np.ix_(people, objects)].T
        allowed = np.where(distances <= shown.max_distance, distances, np.nan)
        matcher.update(shown.truth_ids[objects], shown.found_ids[people], allowed)
        before = shown
    return matcher.result() + extra


def _likeness(frame: PoseFrame, joint: int) -> FramePairs:
    """Keypoint-HOTA (PoseTrack21): similarity 1 - d / 0.5001, pairs made frame by frame by similarity alone.

    TrackEval would choose pairs by how the tracks agree over the whole video. Left with the
    similarities of the chosen pairs only, it can but choose them again.
    """
    from scipy.optimize import linear_sum_assignment

    objects, people = frame.is_annotated[:, joint], frame.is_predicted[:, joint]
    distances = frame.distances[:, :, joint][np.ix_(people, objects)].T
    likeness = np.maximum(0, 1 - distances / (frame.max_distance + 1e-4))
    chosen = np.zeros_like(likeness)
    pairs = linear_sum_assignment(-likeness)
    chosen[pairs] = likeness[pairs]
    return FramePairs(frame.truth_ids[objects], frame.found_ids[people], chosen)
