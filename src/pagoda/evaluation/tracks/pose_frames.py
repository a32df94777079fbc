"""Annotated and predicted poses of a video, frame by frame, as PoseTrack compares them.

G annotated people, P predicted ones, K joints. Distances are in head sizes, nan where a joint is missing.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from pagoda.evaluation.tracks.evaluator import check_frames
from pagoda.structures.tracks import UNLINKED, Tracks

HEAD_SHARE = 0.6
"""The head size is this much of the diagonal of the head box (PoseTrack)"""


@dataclass(frozen=True, eq=False)
class PoseFrame:
    """Annotated and predicted people of one frame, and how far their joints are apart."""

    truth_ids: np.ndarray
    """(G,) track ids of the annotated people"""
    found_ids: np.ndarray
    """(P,) track ids of the predicted people; `UNLINKED` for those without"""
    is_annotated: np.ndarray
    """(G, K) bool"""
    is_predicted: np.ndarray
    """(P, K) bool"""
    scores: np.ndarray
    """(P, K) of each joint; the person's where joints have none"""
    distances: np.ndarray
    """(P, G, K) from joint to joint, in head sizes of the annotated person"""
    max_distance: float
    """up to which a joint is right, in head sizes"""

    @property
    def is_empty(self) -> bool:
        """Whether nobody is annotated or nobody predicted."""
        return 0 in self.distances.shape[:2]

    def linked(self) -> "PoseFrame":
        """The same frame with only the predicted people that belong to a track."""
        mine = self.found_ids != UNLINKED
        if mine.all():
            return self
        return replace(
            self,
            found_ids=self.found_ids[mine],
            is_predicted=self.is_predicted[mine],
            scores=self.scores[mine],
            distances=self.distances[mine],
        )


def pose_frames(truth: Tracks, found: Tracks, max_distance: float) -> list[PoseFrame]:
    """The labelled frames of a video; where nothing says which are, those in which somebody is annotated.

    Joints inside regions to be ignored are taken out on both sides, and people without joints with them.
    Raises ValueError when the two do not fit together.
    """
    _check_poses(truth, found)
    labelled = truth.labelled_frames
    if labelled is None:
        labelled = np.bincount(truth.frames, minlength=truth.num_frames) > 0
    return [_pose_frame(truth, found, frame, max_distance) for frame in np.flatnonzero(labelled).tolist()]


def _check_poses(truth: Tracks, found: Tracks) -> None:
    """Raises ValueError unless both have the same joints, and the ground truth head boxes."""
    for side, tracks in (("ground truth", truth), ("predictions", found)):
        if len(tracks) and (tracks.keypoints is None or tracks.label_map.skeleton is None):
            raise ValueError(
                f"the video '{tracks.name}' has no named keypoints in the {side}; poses need them"
            )
    joints, others = (_joint_names(tracks) for tracks in (truth, found))
    if joints != others:
        missing, more = sorted(set(joints) - set(others)), sorted(set(others) - set(joints))
        what = f"missing: {', '.join(missing) or '–'}; too many: {', '.join(more) or '–'}"
        raise ValueError(
            f"the video '{truth.name}' has {len(joints)} joints in the ground truth and {len(others)} in the"
            f" predictions ({what}{'' if missing or more else '; in another order'})"
        )
    check_frames(truth, found)
    if len(truth) and truth.head_boxes is None:
        raise ValueError(
            f"the ground truth of '{truth.name}' has no head boxes (bbox_head; of 2017: x1, y1, x2, y2), by which"
            " distances are measured; without them only boxes can be scored (--task boxes)"
        )


def _joint_names(tracks: Tracks) -> tuple[str, ...]:
    return tracks.label_map.skeleton.names if tracks.label_map.skeleton else ()


def _pose_frame(truth: Tracks, found: Tracks, frame: int, max_distance: float) -> PoseFrame:
    regions = truth.ignore_regions.get(frame, ())
    here, true_points = _people(truth, frame, regions)
    there, found_points = _people(found, frame, regions)
    assert truth.head_boxes is not None or not len(truth)
    heads = np.zeros((0, 4)) if truth.head_boxes is None else truth.head_boxes[here]
    sizes = HEAD_SHARE * np.linalg.norm(heads[:, 2:] - heads[:, :2], axis=1)
    if (sizes <= 0).any():
        raise ValueError(
            f"the video '{truth.name}' has a person without a head box, or a head box without area in frame {frame}"
            " (counted from 0); distances are measured by it, so give everybody with joints one, or score boxes"
            " (--task boxes)"
        )
    distances = np.linalg.norm(found_points[:, None] - true_points[None], axis=-1) / sizes[None, :, None]
    scores = found.keypoint_scores[there] if found.keypoint_scores is not None else None
    if scores is None:
        scores = np.repeat(found.scores[there, None], found_points.shape[1], 1)
    return PoseFrame(
        truth.track_ids[here],
        found.track_ids[there],
        np.isfinite(true_points).all(-1),
        np.isfinite(found_points).all(-1),
        scores,
        distances,
        max_distance,
    )


def _people(tracks: Tracks, frame: int, regions: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a frame that have a joint outside the regions, and their joints (n, K, 2), nan inside."""
    here = tracks.frame_slice(frame)
    rows = np.arange(here.start, here.stop)
    if tracks.keypoints is None:
        assert not len(rows)
        return rows, np.zeros((0, len(_joint_names(tracks)), 2))
    points = tracks.keypoints[rows].copy()
    for polygon in regions:
        points[points_inside(points, polygon)] = np.nan
    kept = np.isfinite(points).all(-1).any(1)
    return rows[kept], points[kept]


def points_inside(
    points: Float[np.ndarray, "*n 2"], polygon: Float[np.ndarray, "p 2"]
) -> Bool[np.ndarray, "*n"]:
    """Which points lie within the polygon; its border is outside, nan is outside.

    >>> square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    >>> points_inside(np.array([[1.0, 1], [0, 2], [5, 1]]), square)
    array([ True, False, False])
    """
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[..., 0, None], points[..., 1, None]
    way = ends - starts
    across = way[:, 0] * (y - starts[:, 1]) - way[:, 1] * (x - starts[:, 0])
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    is_beside = (low[:, 0] <= x) & (x <= high[:, 0]) & (low[:, 1] <= y) & (y <= high[:, 1])
    is_on_border = ((across == 0) & is_beside).any(-1)
    # Edges that cross the horizontal line through the point to its right: an odd number means inside.
    rises = (starts[:, 1] <= y) & (y < ends[:, 1]) & (across > 0)
    falls = (ends[:, 1] <= y) & (y < starts[:, 1]) & (across < 0)
    return ((rises | falls).sum(-1) % 2 == 1) & ~is_on_border
