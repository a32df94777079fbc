"""Videos followed by a detector of clips and scored: what `pagoda val` and the video demonstration share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import check_same_classes, in_classes_of
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.evaluation.tracks.pose_result import PoseTrackResult
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.evaluation.tracks.result import TrackingResult, finite_or_none, text_columns
from pagoda.follow.clips import FOLLOWING_LIMITS, detect_frames, tracker_for
from pagoda.messages import counted
from pagoda.plain import JsonObject
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.structures.tubes import Tubes
from pagoda.tracking.linking import link

Progress = Callable[[int], None]
"""Called with the number of frames done"""


@dataclass(frozen=True, eq=False)
class FollowingResult:
    """How well one linker followed the objects of some videos.

    >>> boxes = TrackingResult({"HOTA": 0.5, "MOTA": 0.25, "IDF1": 0.75, "IDSW": 3.0}, {}, {}, "")
    >>> FollowingResult("byte", None, boxes, untracked=0).summary()
    {'HOTA': 50.0, 'MOTA': 25.0, 'IDF1': 75.0, 'switches': 3.0}
    """

    linker: str
    """its name in `tracking.linking.LINKERS`"""
    poses: PoseTrackResult | None
    """PoseTrack's scores; None where poses were not scored"""
    boxes: TrackingResult | None
    """HOTA, CLEAR and identity scores of boxes; None where they were not scored"""
    untracked: int
    """detections that belong to no track and so do not count"""

    def summary(self) -> dict[str, float]:
        """Percent: pose mAP and MOTA, HOTA, MOTA and IDF1 of boxes, as far as they were scored; and the switches."""
        row: dict[str, float] = {}
        if self.poses is not None:
            row |= {f"pose {name}": self.poses.metrics[name] for name in ("mAP", "MOTA")}
        if self.boxes is not None:
            row |= {name: 100 * self.boxes.metrics[name] for name in ("HOTA", "MOTA", "IDF1")}
            row |= {"switches": self.boxes.metrics["IDSW"]}
        return row

    def table(self) -> str:
        """Plain text: the scores of poses, then of boxes."""
        parts = [("poses", self.poses), ("boxes", self.boxes)]
        tables = [
            f"Followed by the linker '{self.linker}': {what}\n{result.table()}"
            for what, result in parts
            if result is not None
        ]
        loose = counted(self.untracked, "detection belongs", "detections belong")
        note = f"{loose} to no track: not counted"
        return "\n\n".join([*tables, note])

    def to_dict(self) -> JsonObject:
        """Plain numbers, ready for JSON; None where a value is undefined or was not asked for."""
        return {
            "linker": self.linker,
            "summary": finite_or_none(self.summary()),
            "poses": None if self.poses is None else self.poses.to_dict(),
            "boxes": None if self.boxes is None else self.boxes.to_dict(),
            "untracked": self.untracked,
        }


def summary_table(results: Sequence[FollowingResult]) -> str:
    """Plain text: linkers side by side, one row each, of the same videos; percent, and the number of switches.

    >>> boxes = TrackingResult({"HOTA": 0.5, "MOTA": 0.25, "IDF1": 0.75, "IDSW": 3.0}, {}, {}, "")
    >>> print(summary_table([FollowingResult("byte", None, boxes, 0)]))
    percent  HOTA  MOTA  IDF1  switches
    byte     50.0  25.0  75.0         3
    """
    names = list(results[0].summary())
    rows = [["percent", *names]]
    for each in results:
        cells = [f"{value:.{0 if name == 'switches' else 1}f}" for name, value in each.summary().items()]
        rows.append([each.linker, *("–" if cell == "nan" else cell for cell in cells)])
    return text_columns(rows)


def follow(
    model: Detector, videos: Sequence[Video], linker: str, *, progress: Progress | None = None
) -> FollowingResult:
    """Follow the objects of annotated videos and score the tracks: poses by PoseTrack's rules where the model says
    poses and the videos have joints and head boxes, boxes otherwise.

    Classes meet by name. Raises ValueError before any work for classes that the model does not know, and for
    annotated objects without track ids. `progress` is called with the frames done, over all videos.
    """
    labels = videos[0].tracks.label_map
    check_followable(model, videos)
    is_pose, tracker = has_poses(model, videos), tracker_for(model, linker)
    done, linked = 0, []
    for video in videos:
        count = _shifted(progress, done)
        found = detect_video(model, video, progress=count)
        if model.label_map.names != labels.names:
            found = [in_classes_of(tubes, model.label_map, labels) for tubes in found]
        linked.append(link(found, tracker, video.tracks.name))
        done += video.tracks.num_frames
    return score_followed(linker, [v.tracks for v in videos], linked, poses=is_pose, boxes=not is_pose)


def detect_video(model: Detector, video: Video, *, progress: Progress | None = None) -> list[Tubes]:
    """The tubes about every frame of a video, as good as linkers want them."""
    pictures = (video.picture(frame) for frame in range(video.tracks.num_frames))
    found = []
    for tubes in detect_frames(model, pictures, limits=FOLLOWING_LIMITS):
        assert isinstance(tubes, Tubes)
        found.append(tubes)
        if progress is not None:
            progress(len(found))
    return found


def score_followed(
    linker: str, truths: Sequence[Tracks], found: Sequence[Tracks], *, poses: bool, boxes: bool
) -> FollowingResult:
    """Tracks against ground truth, video by video, in the frames somebody annotated.

    Detections without a track are left out. `poses` and `boxes`: what to score; both need all that their evaluators do,
    or ValueError is raised.

    >>> import pagoda.data.drawn.walking as walking
    >>> truth = walking.WalkingFigures(num_videos=1, num_frames=3, seed=1)[0].tracks
    >>> score_followed("mine", [truth], [truth], poses=False, boxes=True).summary()["HOTA"]
    100.0
    """
    pose_scores = PoseTrackEvaluator() if poses else None
    box_scores = TrackEvaluator() if boxes else None
    for truth, tracks in zip(truths, found, strict=True):
        if pose_scores is not None:
            pose_scores.update(to_posetrack_15(truth), to_posetrack_15(tracks.linked()))
        if box_scores is not None:
            box_scores.update(truth, tracks.linked())
    return FollowingResult(
        linker,
        None if pose_scores is None else pose_scores.result(),
        None if box_scores is None else box_scores.result(),
        sum(int((tracks.track_ids == UNLINKED).sum()) for tracks in found),
    )


def has_poses(model: Detector, videos: Sequence[Video]) -> bool:
    """Whether poses can be scored by PoseTrack's rules: the model says them, and wherever somebody is annotated
    joints and head boxes are."""
    tracks = [video.tracks for video in videos if len(video.tracks)]
    is_known = all(each.keypoints is not None and each.head_boxes is not None for each in tracks)
    return "keypoints" in model.learns and bool(tracks) and is_known


def check_followable(
    model: Detector, videos: Sequence[Video], *, remedy: str = "score single frames alone (--linker none)"
) -> None:
    """Raises ValueError for classes that the model does not know; and, with the remedy, where annotated objects have no
    track id."""
    labels = videos[0].tracks.label_map
    if not set(labels.names) <= set(model.label_map.names):
        check_same_classes(model.label_map.names, labels.names)
    for tracks in (video.tracks for video in videos):
        counts = np.ones(len(tracks), bool) if tracks.ignored is None else ~tracks.ignored
        loose = int((tracks.track_ids[counts] == UNLINKED).sum())
        if loose:
            raise ValueError(
                f"the video '{tracks.name}' has no track id for {loose} of its {int(counts.sum())} annotated"
                f" objects, so that nobody can say who was followed well; {remedy}"
            )


def _shifted(progress: Progress | None, start: int) -> Progress | None:
    return None if progress is None else lambda done: progress(start + done)
