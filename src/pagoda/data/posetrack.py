"""PoseTrack's files, read: those of 2017, where all numbers are lists of one, and the COCO-like ones of 2018."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pagoda.pictures import natural_order
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_15, PERSON_17, POSETRACK_15, POSETRACK_17
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.text_files import one_line, read_json, truth_value

MISSING_SCORE = -9999.0
"""What PoseTrack gives a predicted joint without a score"""


def read_posetrack(source: str | Path, *, content: Any = None) -> list[Tracks]:
    """The videos of a JSON file, or of all those in a folder, with PoseTrack's 15 (2017) or 17 (2018) joints.

    A video is named after its file, or where a file holds several by its id. Joints that are not there are
    nan. `content`: what was read from the file already. Raises ValueError with the file's name for what is neither
    of the two layouts.
    """
    path = Path(source)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"expected PoseTrack JSON files in the folder {path}; found none")
    return [
        tracks
        for file in files
        for tracks in _read_file(file, read_json(file) if content is None else content)
    ]


def _read_file(path: Path, data: Any) -> list[Tracks]:
    try:
        if isinstance(data, dict) and "annolist" in data:
            return [_tracks_of_2017(data["annolist"], path.stem)]
        if isinstance(data, dict) and "images" in data and "annotations" in data:
            return _videos_of_2018(data, path.stem)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not as PoseTrack files are: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    raise ValueError(
        f"{path} is no PoseTrack file: expected 'annolist' (2017), or 'images' and 'annotations' (2018)"
    )


def _one(value: Any) -> Any:
    """The number in a list of one, or the number itself."""
    return value[0] if isinstance(value, list) else value


def _id(value: Any) -> int:
    """A track id; one that is missing, null or an empty list is none."""
    found = _one(value or UNLINKED) if isinstance(value, list) else value
    return UNLINKED if found is None else int(found)


def _score(value: Any) -> float:
    found = _one(value)
    return 1.0 if found is None else float(found)


def _labelled(flags: list[Any], num_frames: int) -> np.ndarray | None:
    """(num_frames,) bool; None where not every frame says."""
    if not flags or len(flags) != num_frames:
        return None
    return np.array([truth_value(_one(flag), "is_labeled") for flag in flags], dtype=bool)


def _head_boxes(boxes: list[list[float] | None]) -> np.ndarray | None:
    """(N, 4), zeros for objects without one; None where nobody has one."""
    if boxes and not any(boxes):
        return None
    return np.array([box or [0] * 4 for box in boxes], dtype=np.float64).reshape(-1, 4)


def _tracks_of_2017(frames: list[dict], name: str) -> Tracks:
    rows = [(index, rect) for index, frame in enumerate(frames) for rect in frame.get("annorect") or []]
    points, scores = np.full((len(rows), 15, 2), np.nan), np.full((len(rows), 15), MISSING_SCORE)
    for row, (_, rect) in enumerate(rows):
        for point in _points_of_2017(rect):
            joint = int(_one(point["id"]))
            if not 0 <= joint < 15:
                raise ValueError(
                    f"a joint must be one of 0 … 14 ({', '.join(POSETRACK_15.names)}), got {joint}"
                )
            points[row, joint] = _one(point["x"]), _one(point["y"])
            scores[row, joint] = _one(point.get("score", MISSING_SCORE))
    labelled = [_one(frame["is_labeled"]) for frame in frames if "is_labeled" in frame]
    heads = [[_one(rect[k]) for k in ("x1", "y1", "x2", "y2")] if "x1" in rect else None for _, rect in rows]
    rect_scores = [_score(rect.get("score")) for _, rect in rows]
    is_truth = not any("score" in point for _, rect in rows for point in _points_of_2017(rect))
    return Tracks(
        np.array([index for index, _ in rows], dtype=np.int64),
        np.array([_id(rect.get("track_id")) for _, rect in rows], dtype=np.int64),
        boxes_around(points),
        np.array(rect_scores, dtype=np.float64),
        np.zeros(len(rows), dtype=np.int64),
        PERSON_15,
        len(frames),
        None,
        name,
        keypoints=points,
        keypoint_scores=None if is_truth else scores,
        head_boxes=_head_boxes(heads),
        frame_names=tuple(str(_one(frame["image"])["name"]) for frame in frames),
        labelled_frames=_labelled(labelled, len(frames)),
        ignore_regions={i: regions for i, frame in enumerate(frames) if (regions := _regions_of_2017(frame))},
    )


def _points_of_2017(rect: Mapping[str, Any]) -> list[dict]:
    annotated = rect.get("annopoints") or []
    annotated = annotated[0] if isinstance(annotated, list) and annotated else annotated
    return (annotated.get("point") or []) if isinstance(annotated, dict) else []


def _regions_of_2017(frame: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    regions = frame.get("ignore_regions") or []
    return tuple(
        np.array([[_one(point["x"]), _one(point["y"])] for point in region["point"]], dtype=np.float64)
        for region in regions
        if region.get("point")
    )


def _videos_of_2018(data: dict[str, Any], stem: str) -> list[Tracks]:
    label_map = _labels_of_2018(data)
    videos: dict[str, list[dict]] = {}
    for image in data["images"]:
        videos.setdefault(str(image.get("vid_id", stem)), []).append(image)
    names = _names_of_videos(list(videos), stem)
    per_image: dict[Any, list[dict]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        if annotation["image_id"] not in per_image:
            raise ValueError(
                f"an annotation belongs to image {annotation['image_id']}, which is not in 'images'"
            )
        per_image[annotation["image_id"]].append(annotation)
    return [
        _tracks_of_2018(images, per_image, label_map, name)
        for name, images in zip(names, videos.values(), strict=True)
    ]


def _names_of_videos(ids: list[str], stem: str) -> list[str]:
    """Their ids on one line each; of a file with a single video that of the file."""
    names = [stem] if len(ids) == 1 else [one_line(each) or stem for each in ids]
    owners: dict[str, str] = {}
    for name, each in zip(names, ids, strict=True):
        if owners.setdefault(name, each) != each:
            raise ValueError(
                f"the videos {owners[name]!r} and {each!r} would both be called '{name}'; give every video a vid_id of"
                " its own"
            )
    return names


def _labels_of_2018(data: dict[str, Any]) -> LabelMap:
    categories = data.get("categories") or [{}]
    names = tuple(categories[0].get("keypoints") or POSETRACK_17.names)
    known = {POSETRACK_17.names: PERSON_17, POSETRACK_15.names: PERSON_15}
    if names not in known:
        raise ValueError(
            f"keypoints must be PoseTrack's 17 or 15, in its order; got {len(names)}: {', '.join(names)}"
        )
    return known[names]


def _tracks_of_2018(
    images: list[dict], per_image: dict[Any, list[dict]], label_map: LabelMap, name: str
) -> Tracks:
    images = _in_order(images)
    rows = [(index, each) for index, image in enumerate(images) for each in per_image[image["id"]]]
    assert label_map.skeleton is not None
    triples = _triples([each.get("keypoints") for _, each in rows], len(label_map.skeleton))
    points = triples[..., :2].copy()
    points[(triples == 0).all(-1)] = np.nan
    boxes_xywh = [each.get("bbox") or [np.nan] * 4 for _, each in rows]
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = np.where(np.isnan(boxes), boxes_around(points), boxes)
    heads = _head_boxes([each.get("bbox_head") for _, each in rows])
    if heads is not None:
        heads[:, 2:] += heads[:, :2]
    labelled = [image["is_labeled"] for image in images if "is_labeled" in image]
    regions = {i: found for i, image in enumerate(images) if (found := _regions_of_2018(image))}
    first = images[0]
    return Tracks(
        np.array([index for index, _ in rows], dtype=np.int64),
        np.array([_id(each.get("track_id")) for _, each in rows], dtype=np.int64),
        boxes,
        np.array([_score(each.get("score")) for _, each in rows], dtype=np.float64),
        np.zeros(len(rows), dtype=np.int64),
        label_map,
        len(images),
        (int(first["height"]), int(first["width"])) if "height" in first and "width" in first else None,
        name,
        keypoints=points,
        keypoint_scores=_scores_of_2018([each for _, each in rows], triples),
        head_boxes=heads,
        frame_names=tuple(str(image.get("file_name", "")) for image in images),
        labelled_frames=_labelled(labelled, len(images)),
        ignore_regions=regions,
    )


def _triples(rows: list[list[float] | None], num_keypoints: int) -> np.ndarray:
    """(N, K, 3) x, y, visibility; all 0 for objects without keypoints."""
    for row in rows:
        if row and len(row) != 3 * num_keypoints:
            raise ValueError(
                f"a pose must have {num_keypoints} keypoints as {3 * num_keypoints} numbers x, y, visibility,"
                f" got {len(row)} numbers"
            )
    filled = [row or [0] * 3 * num_keypoints for row in rows]
    return np.array(filled, dtype=np.float64).reshape(-1, num_keypoints, 3)


def _scores_of_2018(annotations: list[dict], triples: np.ndarray) -> np.ndarray | None:
    """(N, K) from "scores"; else the third numbers of the keypoints, where they are no visibilities 0, 1 and 2."""
    num_keypoints = triples.shape[1]
    if not any(each.get("scores") for each in annotations):
        return None if np.isin(triples[..., 2], (0, 1, 2)).all() else triples[..., 2].copy()
    missing = [MISSING_SCORE] * num_keypoints
    rows = [each.get("scores") or missing for each in annotations]
    if any(len(row) != num_keypoints for row in rows):
        raise ValueError(f"'scores' must have one number per keypoint, {num_keypoints}")
    return np.array(rows, dtype=np.float64).reshape(-1, num_keypoints)


def _in_order(images: list[dict]) -> list[dict]:
    """By the numbers of the frames; where there are none by those in the names of the pictures, else by the ids."""
    if all("frame_id" in image for image in images):
        return sorted(images, key=lambda image: image["frame_id"])
    if all(image.get("file_name") for image in images):
        return sorted(images, key=lambda image: natural_order(str(image["file_name"])))
    return sorted(images, key=lambda image: image.get("frame_id", image["id"]))


def _regions_of_2018(image: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    # One polygon alone stands as a plain list of numbers.
    if xs and not isinstance(xs[0], list):
        xs, ys = [xs], [ys]
    return tuple(np.array([x, y], dtype=np.float64).T for x, y in zip(xs, ys, strict=True) if len(x) > 2)


def boxes_around(points: np.ndarray) -> np.ndarray:
    """(N, 4) the smallest box around the keypoints (N, K, 2) that are there; zeros where none is."""
    is_there = np.isfinite(points).all(-1, keepdims=True)
    low = np.where(is_there, points, np.inf).min(1, initial=np.inf)
    high = np.where(is_there, points, -np.inf).max(1, initial=-np.inf)
    return np.where(is_there.any(1), np.concatenate([low, high], 1), 0.0)
