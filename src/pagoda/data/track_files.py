"""Videos as objects per frame from any file that holds them: MOT text, PoseTrack JSON, `pagoda predict`'s JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pagoda.data.mot import find_mot, read_mot
from pagoda.data.posetrack import read_posetrack
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton
from pagoda.structures.tracks import UNLINKED, Tracks


def read_tracks(
    source: str | Path,
    *,
    is_truth: bool = False,
    image_size: tuple[int, int] | None = None,
    score_range: tuple[float, float] | None = None,
) -> list[Tracks]:
    """The videos of a file or folder, one `Tracks` each; the layout is told from the content.

    Text files are MOTChallenge's; JSON is PoseTrack's of 2017 or 2018, or predictions of `pagoda predict` and
    `pagoda track`. `image_size` and `score_range` as in `read_mot`; for text files only.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"expected a file or folder of tracks, but there is no {path}")
    if path.is_dir() and sorted(path.glob("*.json")):
        return [tracks for file in sorted(path.glob("*.json")) for tracks in read_json(file)]
    if path.suffix == ".json":
        return read_json(path)
    options = {"is_truth": is_truth, "image_size": image_size, "score_range": score_range}
    return [read_mot(file, **options) for file in find_mot(path)]


def read_json(path: Path) -> list[Tracks]:
    """A JSON file of either kind."""
    with path.open(encoding="utf-8") as file:
        is_ours = '"predictions"' in file.read(4096)
    return read_predictions(path) if is_ours else read_posetrack(path)


def read_predictions(path: str | Path, *, skeleton: Skeleton | None = None) -> list[Tracks]:
    """What `pagoda predict` wrote, one video per folder of pictures, frames in the order of the file.

    Poses of 17 keypoints are COCO's unless a `skeleton` is given. Raises ValueError when frames are missing
    because their pictures could not be read.
    """
    path = Path(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = data.get("predictions") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds no 'predictions'; expected what `pagoda predict` writes")
    if data.get("failed"):
        raise ValueError(
            f"{path}: {len(data['failed'])} frames are missing because their pictures could not be read"
            f" (first: {data['failed'][0]}); predict them again, or empty the list 'failed' to go on without them"
        )
    label_map = _label_map(rows, skeleton)
    videos: dict[str, list[dict]] = {}
    for row in rows:
        videos.setdefault(str(Path(row.get("file") or "").parent), []).append(row)
    try:
        return [
            _video(frames, label_map, path.stem if len(videos) == 1 else Path(folder).name)
            for folder, frames in videos.items()
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not as `pagoda predict` writes: {type(error).__name__} {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def tracks_to_predictions(tracks: Tracks) -> dict[str, Any]:
    """The content of a JSON file that `read_predictions` reads, track ids included."""
    return {"predictions": [tracks.at(frame).to_dict() for frame in range(tracks.num_frames)], "failed": []}


def _label_map(rows: list[dict], skeleton: Skeleton | None) -> LabelMap:
    objects = [each for row in rows for each in row.get("objects", [])]
    names = {int(each["label"]): str(each["name"]) for each in objects}
    numbers = {len(each["keypoints"]) // 3 for each in objects if "keypoints" in each}
    if len(numbers) > 1:
        raise ValueError(f"poses must all have the same number of keypoints, got {sorted(numbers)}")
    if skeleton is None and numbers == {17}:
        skeleton = COCO_17
    known = [names.get(label, f"class_{label}") for label in range(max(names, default=0) + 1)]
    return LabelMap(tuple(known), tuple(range(1, len(known) + 1)), skeleton)


def _video(rows: list[dict], label_map: LabelMap, name: str) -> Tracks:
    sizes = {tuple(row["image_size"]) for row in rows}
    if len(sizes) > 1:
        raise ValueError(
            f"frames of one video must have one (height, width), got {', '.join(map(str, sorted(sizes)))}"
        )
    objects = [(index, each) for index, row in enumerate(rows) for each in row["objects"]]
    triples = [each["keypoints"] for _, each in objects if "keypoints" in each]
    if 0 < len(triples) < len(objects):
        raise ValueError(
            f"{len(triples)} of {len(objects)} objects have keypoints; all or none must have them"
        )
    points = np.array(triples, dtype=np.float64).reshape(len(triples), -1, 3) if triples else None

    def column(key: str, default: float | None = None) -> np.ndarray:
        return np.array([each[key] if default is None else each.get(key, default) for _, each in objects])

    return Tracks(
        np.array([index for index, _ in objects], dtype=np.int64),
        column("track_id", UNLINKED).astype(np.int64),
        column("box_xyxy").astype(np.float64).reshape(-1, 4),
        column("score").astype(np.float64),
        column("label").astype(np.int64),
        label_map,
        len(rows),
        next(iter(sizes)),
        name,
        keypoints=None if points is None else points[..., :2].copy(),
        keypoint_scores=None if points is None else points[..., 2].copy(),
        frame_names=tuple(str(row.get("file") or "") for row in rows),
    )


def match_videos(truth: Iterable[Tracks], found: Iterable[Tracks]) -> list[tuple[Tracks, Tracks]]:
    """Ground truth and predictions of each video. Raises ValueError with the names that stand on one side only."""
    sides = [{each.name: each for each in side} for side in (truth, found)]
    missing, extra = sorted(sides[0].keys() - sides[1].keys()), sorted(sides[1].keys() - sides[0].keys())
    if missing or extra:
        parts = [f"without predictions: {', '.join(missing)}" if missing else ""]
        parts += [f"without ground truth: {', '.join(extra)}" if extra else ""]
        raise ValueError(
            f"videos are matched by name, and {len(missing) + len(extra)} have no partner;"
            f" {'; '.join(part for part in parts if part)}"
        )
    return [(each, sides[1][name]) for name, each in sides[0].items()]
