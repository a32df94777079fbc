"""How poses of other models are brought to PoseTrack's two sets of joints. N objects, K keypoints."""

from dataclasses import replace
from typing import Literal

import numpy as np

from pagoda.plain import checked
from pagoda.structures.posetrack_skeletons import PERSON_15, PERSON_17, POSETRACK_15, POSETRACK_17
from pagoda.structures.skeleton import COCO_17
from pagoda.structures.tracks import Tracks


@checked
def to_posetrack_15(
    tracks: Tracks,
    *,
    min_keypoint_score: float | None = None,
    joint_score: Literal["object", "keypoint", "product"] = "keypoint",
    neck: Literal["head_bottom", "mid_shoulders"] = "head_bottom",
) -> Tracks:
    """Tracks with poses of the 15 joints that are scored; joints below `min_keypoint_score` are taken out.

    Detect-and-Track published `min_keypoint_score=1.95` (its scores are logits), `joint_score="object"` and
    `neck="mid_shoulders"`, half-way between the shoulders with the mean of their scores.
    Raises ValueError for keypoints that are neither PoseTrack's nor COCO's.
    """
    if tracks.keypoints is None or _names(tracks) == POSETRACK_15.names:
        source = tracks
    else:
        source = to_posetrack_17(tracks)
        assert source.keypoints is not None
        points, scores = source.keypoints, source.keypoint_scores
        place = {name: k for k, name in enumerate(POSETRACK_17.names)}
        order = [place["head_bottom" if name == "neck" else name] for name in POSETRACK_15.names]
        shoulders = [place["left_shoulder"], place["right_shoulder"]]
        new_points = points[:, order].copy()
        new_scores = None if scores is None else scores[:, order].copy()
        if neck == "mid_shoulders":
            new_points[:, 12] = points[:, shoulders].mean(1)
            if new_scores is not None and scores is not None:
                new_scores[:, 12] = scores[:, shoulders].mean(1)
        source = replace(source, keypoints=new_points, keypoint_scores=new_scores, label_map=PERSON_15)
    return _scored(source, min_keypoint_score, joint_score)


def to_posetrack_17(tracks: Tracks) -> Tracks:
    """Tracks with poses of the 17 keypoints of PoseTrack's files.

    Of COCO's 17 keypoints the eyes are left out; the bottom of the head is put half-way between the
    shoulders, and the top as far above the nose as that is below it. Raises ValueError for other keypoints.

    >>> from pagoda.structures.labels import LabelMap
    >>> person, points = LabelMap(("person",), (1,), COCO_17), np.zeros((1, 17, 2))
    >>> points[0, 5:7] = (4.0, 10.0), (8.0, 10.0)  # the shoulders; the nose is at (0, 0)
    >>> row = np.zeros(1, np.int64)
    >>> tracks = Tracks(row, row, np.zeros((1, 4)), np.ones(1), row, person, 1, keypoints=points)
    >>> to_posetrack_17(tracks).keypoints[0, 1].tolist()  # the bottom of the head
    [6.0, 10.0]
    """
    names = _names(tracks)
    if tracks.keypoints is None or names == POSETRACK_17.names:
        return tracks
    if names != COCO_17.names:
        raise ValueError(
            f"poses must have PoseTrack's 17 keypoints or COCO's to be brought to PoseTrack's, got"
            f" {tracks.keypoints.shape[1]}: {', '.join(names) or 'without names'}"
        )
    place = {name: k for k, name in enumerate(COCO_17.names)}
    shoulders = [place["left_shoulder"], place["right_shoulder"]]
    order = [place.get(name, 0) for name in POSETRACK_17.names]
    old, points = tracks.keypoints, tracks.keypoints[:, order].copy()
    points[:, 1] = old[:, shoulders].mean(1)
    points[:, 2] = 2 * old[:, 0] - points[:, 1]
    scores = None
    if tracks.keypoint_scores is not None:
        scores = tracks.keypoint_scores[:, order].copy()
        scores[:, 1] = tracks.keypoint_scores[:, shoulders].mean(1)
        scores[:, 2] = np.minimum(scores[:, 0], scores[:, 1])
    return replace(tracks, keypoints=points, keypoint_scores=scores, label_map=PERSON_17)


def _scored(tracks: Tracks, min_keypoint_score: float | None, joint_score: str) -> Tracks:
    points, scores = tracks.keypoints, tracks.keypoint_scores
    if points is None or scores is None:
        if min_keypoint_score is not None or joint_score != "keypoint":
            raise ValueError(
                "a choice among keypoints by their scores needs predictions with keypoint scores"
            )
        return tracks
    if min_keypoint_score is not None:
        points = np.where((scores >= min_keypoint_score)[..., None], points, np.nan)
    if joint_score == "object":
        scores = np.repeat(tracks.scores[:, None], scores.shape[1], 1)
    elif joint_score == "product":
        scores = scores * tracks.scores[:, None]
    return replace(tracks, keypoints=points, keypoint_scores=scores)


def _names(tracks: Tracks) -> tuple[str, ...]:
    return tracks.label_map.skeleton.names if tracks.label_map.skeleton else ()
