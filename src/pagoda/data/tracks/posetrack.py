"""PoseTrack's files, read: those of 2017, where all numbers are lists of one, and the COCO-like ones of 2018."""

import re
from pathlib import Path

import numpy as np

from pagoda.data.reading.annotation_files import files_like
from pagoda.data.tracks.posetrack_entries import (
    MISSING_SCORE,
    PersonOf2018,
    frame_of_2017,
    id_of,
    images_in_order,
    person_of_2018,
)
from pagoda.files.text import as_whole, one_line, read_json
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.places import told_at
from pagoda.plain import JsonObject
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_15, PERSON_17, POSETRACK_15, POSETRACK_17
from pagoda.structures.tracks import Tracks

_OF_ANY_VIDEO = re.compile(r"posetrack18(-\d+)?")


def read_posetrack(source: str | Path, *, content: object = None) -> list[Tracks]:
    """The videos of a JSON file, or of all those in a folder, with PoseTrack's 15 (2017) or 17 (2018) joints, or boxes
    alone where the file of 2018 has no poses; several categories are as many classes.

    A video is named after its file, or where a file holds several, or is called posetrack18.json, by its id. Joints
    that are not there are nan. `content`: what was read from the file already. Raises ValueError with the file's name
    for what is neither of the two layouts.
    """
    path = Path(source)
    files = sorted(files_like(path, "*.json")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"expected PoseTrack JSON files in the folder {path}; found none")
    return [
        tracks
        for file in files
        for tracks in _read_file(file, read_json(file) if content is None else content)
    ]


def _read_file(path: Path, data: object) -> list[Tracks]:
    with told_at(path):
        if isinstance(data, dict) and "annolist" in data:
            return [_tracks_of_2017(_listed(data, "annolist"), path.stem)]
        if isinstance(data, dict) and "images" in data and "annotations" in data:
            return _videos_of_2018(data, path.stem)
    raise ValueError(
        f"{path} is no PoseTrack file: expected 'annolist' (2017), or 'images' and 'annotations' (2018)"
    )


def _listed(data: JsonObject, key: str) -> list[dict]:
    """The objects below a key."""
    entries = data[key]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"'{key}' must be a list of objects, got {str(entries)[:100]}")
    return entries


def _labelled(flags: list[bool | None]) -> np.ndarray | None:
    """(num_frames,) bool; None where not every frame says."""
    return None if None in flags or not flags else np.array(flags, dtype=bool)


def _head_boxes(boxes: list[list[float] | None]) -> np.ndarray | None:
    """(N, 4), zeros for objects without one; None where nobody has one."""
    if boxes and not any(boxes):
        return None
    return np.array([box or [0] * 4 for box in boxes], dtype=np.float64).reshape(-1, 4)


def _tracks_of_2017(entries: list[dict], name: str) -> Tracks:
    frames = []
    for number, entry in enumerate(entries, 1):
        with told_at(f"frame {number} of annolist"):
            frames.append(frame_of_2017(entry))
    rows = [(index, person) for index, frame in enumerate(frames) for person in frame.people]
    points = np.array([person.points for _, person in rows]).reshape(-1, 15, 2)
    is_truth = not any(person.has_scores for _, person in rows)
    return Tracks(
        np.array([index for index, _ in rows], dtype=np.int64),
        np.array([person.track_id for _, person in rows], dtype=np.int64),
        boxes_around(points),
        np.array([person.score for _, person in rows], dtype=np.float64),
        np.zeros(len(rows), dtype=np.int64),
        PERSON_15,
        len(frames),
        None,
        name,
        keypoints=points,
        keypoint_scores=None if is_truth else np.array([person.scores for _, person in rows]).reshape(-1, 15),
        head_boxes=_head_boxes([person.head for _, person in rows]),
        frame_names=tuple(frame.name for frame in frames),
        labelled_frames=_labelled([frame.is_labelled for frame in frames]),
        ignore_regions={i: frame.regions for i, frame in enumerate(frames) if frame.regions},
    )


def _videos_of_2018(data: JsonObject, stem: str) -> list[Tracks]:
    images, annotations = _listed(data, "images"), _listed(data, "annotations")
    categories = _listed(data, "categories") if data.get("categories") else []
    label_map = _labels_of_2018(categories, annotations)
    num_keypoints = 0 if label_map.skeleton is None else len(label_map.skeleton)
    videos: dict[str, list[dict]] = {}
    for image in images:
        videos.setdefault(str(image.get("vid_id", stem)), []).append(image)
    names = _names_of_videos(list(videos), stem)
    per_image: dict[int | str, list[tuple[int, PersonOf2018]]] = {id_of(image, "id"): [] for image in images}
    for annotation in annotations:
        number = id_of(annotation, "image_id")
        if number not in per_image:
            raise ValueError(f"an annotation belongs to image {number}, which is not in 'images'")
        with told_at(f"annotation {annotation.get('id')} of image {number}"):
            label = _label_of(annotation, label_map) if len(label_map) > 1 else 0
            per_image[number].append((label, person_of_2018(annotation, num_keypoints)))
    return [
        _tracks_of_2018(images, per_image, label_map, name)
        for name, images in zip(names, videos.values(), strict=True)
    ]


def _names_of_videos(ids: list[str], stem: str) -> list[str]:
    """Their ids on one line each; of a file with a single video that of the file, unless it is `pagoda track`'s, which
    is called alike for all videos."""
    is_named_so = len(ids) == 1 and not _OF_ANY_VIDEO.fullmatch(stem)
    names = [stem] if is_named_so else [one_line(each) or stem for each in ids]
    owners: dict[str, str] = {}
    for name, each in zip(names, ids, strict=True):
        if owners.setdefault(name, each) != each:
            raise ValueError(
                f"the videos {owners[name]!r} and {each!r} would both be called '{name}'; give every video a vid_id of"
                " its own"
            )
    return names


def _labels_of_2018(categories: list[dict], annotations: list[dict]) -> LabelMap:
    """The classes of a file; without a skeleton where no category and no annotation knows of keypoints."""
    with_points = next((each["keypoints"] for each in categories if each.get("keypoints")), None)
    names = tuple(with_points or POSETRACK_17.names)
    known = {POSETRACK_17.names: PERSON_17, POSETRACK_15.names: PERSON_15}
    if names not in known:
        raise ValueError(
            f"keypoints must be PoseTrack's 17 or 15, in its order; got {len(names)}: {', '.join(names)}"
        )
    has_poses = with_points is not None or any(each.get("keypoints") for each in annotations)
    if len(categories) <= 1 and (has_poses or not annotations or not categories):
        return known[names]
    with told_at("categories"):
        ids = [as_whole(each.get("id")) for each in categories]
        if None in ids or not all(each.get("name") for each in categories):
            raise ValueError(f"each needs a whole number id and a name, got {str(categories)[:100]}")
        skeleton = known[names].skeleton if has_poses else None
        return LabelMap(tuple(one_line(str(each["name"])) for each in categories), tuple(ids), skeleton)


def _label_of(annotation: dict, label_map: LabelMap) -> int:
    category = annotation.get("category_id")
    if category not in label_map.category_ids:
        raise ValueError(f"category_id {category} is none of the categories {label_map.category_ids}")
    return label_map.category_ids.index(category)


def _tracks_of_2018(
    images: list[dict],
    per_image: dict[int | str, list[tuple[int, PersonOf2018]]],
    label_map: LabelMap,
    name: str,
) -> Tracks:
    frames = sorted(images_in_order(images), key=lambda frame: frame.place)
    places = [(index, *one) for index, frame in enumerate(frames) for one in per_image[frame.image_id]]
    rows = [person for _, _, person in places]
    points, point_scores = None, None
    boxes = xywh_to_xyxy(np.array([person.box_xywh for person in rows], dtype=np.float64).reshape(-1, 4))
    if label_map.skeleton is not None:
        triples = np.array([person.triples for person in rows]).reshape(-1, len(label_map.skeleton), 3)
        points = triples[..., :2].copy()
        points[(triples == 0).all(-1)] = np.nan
        boxes = np.where(np.isnan(boxes), boxes_around(points), boxes)
        point_scores = _scores_of_2018([person.scores for person in rows], triples)
    elif np.isnan(boxes).any():
        raise ValueError(f"somebody in the video '{name}' has neither a bbox nor keypoints")
    heads = _head_boxes([person.head_xywh for person in rows])
    return Tracks(
        np.array([index for index, _, _ in places], dtype=np.int64),
        np.array([person.track_id for person in rows], dtype=np.int64),
        boxes,
        np.array([person.score for person in rows], dtype=np.float64),
        np.array([label for _, label, _ in places], dtype=np.int64),
        label_map,
        len(frames),
        frames[0].size,
        name,
        keypoints=points,
        keypoint_scores=point_scores,
        head_boxes=None if heads is None else xywh_to_xyxy(heads),
        frame_names=tuple(frame.name for frame in frames),
        labelled_frames=_labelled([frame.is_labelled for frame in frames]),
        ignore_regions={i: frame.regions for i, frame in enumerate(frames) if frame.regions},
    )


def _scores_of_2018(rows: list[list[float] | None], triples: np.ndarray) -> np.ndarray | None:
    """(N, K) from "scores"; else the third numbers of the keypoints, where they are no visibilities 0, 1 and 2."""
    num_keypoints = triples.shape[1]
    if not any(rows):
        return None if np.isin(triples[..., 2], (0, 1, 2)).all() else triples[..., 2].copy()
    missing = [MISSING_SCORE] * num_keypoints
    return np.array([row or missing for row in rows], dtype=np.float64).reshape(-1, num_keypoints)


def boxes_around(points: np.ndarray) -> np.ndarray:
    """(N, 4) the smallest box around the keypoints (N, K, 2) that are there; zeros where none is.

    >>> boxes_around(np.array([[[1.0, 5.0], [4.0, 2.0], [np.nan, np.nan]]])).tolist()
    [[1.0, 2.0, 4.0, 5.0]]
    """
    is_there = np.isfinite(points).all(-1, keepdims=True)
    low = np.where(is_there, points, np.inf).min(1, initial=np.inf)
    high = np.where(is_there, points, -np.inf).max(1, initial=-np.inf)
    return np.where(is_there.any(1), np.concatenate([low, high], 1), 0.0)
