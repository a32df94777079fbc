"""PoseTrack's files, written: the COCO-like ones of 2018 frame by frame, and those of 2017 at once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from pagoda.data.tracks.posetrack_entries import MISSING_SCORE
from pagoda.data.tracks.posetrack_joints import to_posetrack_17
from pagoda.data.tracks.spool import Spool
from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.plain import JsonObject
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import POSETRACK_15
from pagoda.structures.skeleton import COCO_17
from pagoda.structures.tracks import Tracks

MAX_ID_2017 = 999
"""PoseTrack 2017's evaluator puts 1000 ids between videos"""


class PoseTrackWriter:
    """A 2018 file of one video, frame after frame; memory does not grow, and the file appears when closed.

    COCO's poses are brought to PoseTrack's 17 keypoints; others are written with their own names, and objects
    without poses as boxes. Use it in a `with` block; after an error in the block
    the frames that were added are still written.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        self.path, self.name = Path(path), name
        self._images, self._annotations = Spool(), Spool()
        self._is_open = True
        self._num_frames = self._num_objects = 0
        self._categories: list[JsonObject] | None = None

    def __enter__(self) -> "PoseTrackWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, detections: Detections) -> None:
        """The next frame; objects without a track are left out."""
        tracks = Tracks.from_detections([replace(detections, picture=None)]).linked()
        if tracks.label_map.skeleton is not None and tracks.label_map.skeleton.names == COCO_17.names:
            tracks = to_posetrack_17(tracks)
        if self._categories is None:
            self._categories = _categories(tracks.label_map)
        height, width = detections.image_size
        self._num_frames += 1
        image = {
            "id": self._num_frames,
            "file_name": detections.file or f"{self.name}/{self._num_frames - 1:06d}.jpg",
            "frame_id": self._num_frames,
            "vid_id": self.name,
            "is_labeled": True,
            "height": height,
            "width": width,
        }
        _append(self._images, image, is_first=self._num_frames == 1)
        for row in _annotations(tracks):
            self._num_objects += 1
            row |= {"id": self._num_objects, "image_id": self._num_frames}
            _append(self._annotations, row, is_first=self._num_objects == 1)

    def close(self) -> None:
        """Write the file. Further calls do nothing."""
        if self._is_open:
            self._is_open = False
            write_atomically(self.path, self._assemble)
            self._images.close()
            self._annotations.close()

    def _assemble(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as target:
            target.write(f'{{"categories": {json_text(self._categories or [])},\n"images": [')
            for spool, after in ((self._images, '],\n"annotations": ['), (self._annotations, "]}\n")):
                spool.copy_to(target)
                target.write(after)


def write_posetrack(tracks: Tracks, path: str | Path) -> None:
    """A 2018 file of the objects that belong to tracks.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> from pagoda.files.text import read_json
    >>> with TemporaryDirectory() as folder:
    ...     write_posetrack(WalkingFigures(num_videos=1, num_frames=2).tracks(0), f"{folder}/walk.json")
    ...     document = read_json(Path(folder, "walk.json"))
    >>> list(document), document["images"][0]["vid_id"]
    (['categories', 'images', 'annotations'], 'walk_0000')
    """
    with PoseTrackWriter(path, tracks.name) as writer:
        for frame in range(tracks.num_frames):
            writer.add(tracks.at(frame))


def write_posetrack_truth(tracks: Tracks, path: str | Path) -> None:
    """Ground truth as a 2018 file, head boxes, regions to be ignored and which frames are labelled included.

    Raises ValueError where `image_size` or `frame_names` is missing, and for what the file has no place for:
    objects without a track, ignored objects.
    """
    has_ignored = tracks.ignored is not None and tracks.ignored.any()
    is_linked = len(tracks.linked()) == len(tracks)
    if tracks.image_size is None or not tracks.frame_names or not is_linked or has_ignored:
        raise ValueError(
            f"the ground truth of '{tracks.name}' needs image_size, frame_names, and objects that all have tracks"
            " and are not ignored, to be written"
        )
    height, width = tracks.image_size
    labelled = np.ones(tracks.num_frames, bool) if tracks.labelled_frames is None else tracks.labelled_frames
    images = [
        {
            "id": frame + 1,
            "file_name": name,
            "frame_id": frame + 1,
            "vid_id": tracks.name,
            "nframes": tracks.num_frames,
            "is_labeled": bool(labelled[frame]),
            "height": height,
            "width": width,
            **_regions(tracks.ignore_regions.get(frame, ())),
        }
        for frame, name in enumerate(tracks.frame_names)
    ]
    annotations = _annotations(tracks)
    heads = None if tracks.head_boxes is None else xyxy_to_xywh(tracks.head_boxes.astype(np.float64)).tolist()
    for row, each in enumerate(annotations):
        each |= {"id": row + 1, "image_id": int(tracks.frames[row]) + 1}
        if heads is not None:
            each["bbox_head"] = heads[row]
    content = {"images": images, "annotations": annotations, "categories": _categories(tracks.label_map)}
    text = json_text(content)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _regions(polygons: Sequence[np.ndarray]) -> JsonObject:
    if not polygons:
        return {}
    xs, ys = ([polygon[:, axis].tolist() for polygon in polygons] for axis in (0, 1))
    return {"ignore_regions_x": xs, "ignore_regions_y": ys}


def write_posetrack_17(tracks: Tracks, path: str | Path, *, with_dummies: bool = False) -> None:
    """A 2017 file, in which all numbers are lists of one. The poses must have PoseTrack's 15 joints.

    `with_dummies` gives frames without people a pose of one joint at (0, 0) with the score -100, as
    Detect-and-Track did, because the evaluator of 2017 took over the frame before instead.
    Raises ValueError for other joints, and for track ids of 1000 and more, which that evaluator mixes up.
    """
    skeleton = tracks.label_map.skeleton
    if tracks.keypoints is None or skeleton is None or skeleton.names != POSETRACK_15.names:
        raise ValueError(
            "a PoseTrack 2017 file needs poses of PoseTrack's 15 joints; convert with to_posetrack_15"
        )
    linked = tracks.linked()
    if len(linked) and linked.track_ids.max() > MAX_ID_2017:
        raise ValueError(
            f"PoseTrack 2017's evaluator needs track ids below {MAX_ID_2017 + 1}, got {linked.track_ids.max()};"
            " write the layout of 2018, or cut the video"
        )
    frames = []
    for frame in range(linked.num_frames):
        here = linked.frame_slice(frame)
        people = [_person_of_2017(linked, row) for row in range(here.start, here.stop)]
        if not people and with_dummies:
            point = {"id": [0], "x": [0], "y": [0], "score": [-100]}
            people = [{"track_id": [0], "score": [-100], "annopoints": [{"point": [point]}]}]
        name = linked.frame_names[frame] if linked.frame_names else f"{linked.name}/{frame + 1:08d}.jpg"
        frames.append({"image": [{"name": name}], "annorect": people})
    text = json_text({"annolist": frames})
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _person_of_2017(tracks: Tracks, row: int) -> JsonObject:
    assert tracks.keypoints is not None
    scores = tracks.keypoint_scores
    points = []
    for joint, (x, y) in enumerate(tracks.keypoints[row].tolist()):
        if np.isfinite(x):
            score = tracks.scores[row] if scores is None else _known_score(scores[row, joint])
            points.append({"id": [joint], "x": [x], "y": [y], "score": [float(score)]})
    person: JsonObject = {"track_id": [int(tracks.track_ids[row])], "score": [float(tracks.scores[row])]}
    if tracks.head_boxes is not None:
        person |= {
            k: [v] for k, v in zip(("x1", "y1", "x2", "y2"), tracks.head_boxes[row].tolist(), strict=True)
        }
    return {**person, "annopoints": [{"point": points}]}


def _annotations(tracks: Tracks) -> list[JsonObject]:
    rows = []
    for row, box in enumerate(xyxy_to_xywh(tracks.boxes.astype(np.float64)).tolist()):
        each: JsonObject = {
            "track_id": int(tracks.track_ids[row]),
            "category_id": tracks.label_map.category_ids[int(tracks.labels[row])],
            "score": float(tracks.scores[row]),
            "bbox": box,
        }
        if tracks.keypoints is not None:
            is_there = np.isfinite(tracks.keypoints[row]).all(1)
            points = np.where(is_there[:, None], tracks.keypoints[row], 0)
            each["keypoints"] = np.concatenate([points, is_there[:, None]], 1).ravel().tolist()
        if tracks.keypoint_scores is not None:
            each["scores"] = [_known_score(score) for score in tracks.keypoint_scores[row].tolist()]
        rows.append(each)
    return rows


def _known_score(score: float) -> float:
    """PoseTrack's number for a joint without a score, where there is none."""
    return score if np.isfinite(score) else MISSING_SCORE


def _categories(label_map: LabelMap) -> list[JsonObject]:
    categories: list[JsonObject] = [
        {"id": category, "name": name}
        for category, name in zip(label_map.category_ids, label_map.names, strict=True)
    ]
    if label_map.skeleton is not None:
        skeleton = [[a + 1, b + 1] for a, b in label_map.skeleton.edges]
        categories[0] |= {"keypoints": list(label_map.skeleton.names), "skeleton": skeleton}
    return categories


def _append(spool: Spool, value: JsonObject, *, is_first: bool) -> None:
    spool.write(("\n" if is_first else ",\n") + json_text(value))
