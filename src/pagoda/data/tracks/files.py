"""Videos as objects per frame from any file that holds them: MOT text, PoseTrack JSON, `pagoda predict`'s JSON."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.found import usable_size
from pagoda.data.tracks.mot import find_mot, known_words, read_mot, video_word
from pagoda.data.tracks.mot_classes import MOST_CLASSES, Benchmark, choose_classes, distinct_ids
from pagoda.data.tracks.mot_rows import sequence_name
from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.files import text
from pagoda.files.text import as_number, as_whole, one_line
from pagoda.messages import counted
from pagoda.pictures.read import natural_order
from pagoda.places import told_at
from pagoda.plain import JsonObject, checked
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton
from pagoda.structures.tracks import UNLINKED, Tracks

_OF_ANY_VIDEO = re.compile(r"predictions(-\d+)?")
"""what `pagoda predict` calls its file, whatever it holds"""


@checked
def read_tracks(
    source: str | Path,
    *,
    is_truth: bool = False,
    image_size: tuple[int, int] | None = None,
    score_range: tuple[float, float] | None = None,
    benchmark: Benchmark = "auto",
    classes: Sequence[str] = (),
    truths: Sequence[Tracks] = (),
) -> list[Tracks]:
    """The videos of a file or folder, one `Tracks` each; the layout is told from the content.

    Text files are MOTChallenge's; JSON is PoseTrack's of 2017 or 2018, or predictions of `pagoda predict` and
    `pagoda track`. `image_size`, `score_range` and `benchmark` as in `read_mot`; for text files only.
    `classes`: only objects of these, by name (or, in text, number). `truths`: the ground truth of predictions
    in text, by whose numbers their classes are read; NAME-CLASS.txt are then the predictions of one class of
    the video NAME. Raises FileNotFoundError where there is nothing, ValueError naming the file and the line
    where it cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "walk.txt")
    ...     _ = path.write_text("1,7,11,21,30,40,0.9,-1,-1,-1\\n")
    ...     (tracks,) = read_tracks(path)
    >>> tracks.name, tracks.frames.tolist(), tracks.track_ids.tolist(), tracks.boxes.tolist()
    ('walk', [0], [7], [[10.0, 20.0, 40.0, 60.0]])
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"expected a file or folder of tracks, but there is no {path}")
    files = sorted(files_like(path, "*.json"), key=natural_order) if path.is_dir() else [path]
    if files and (path.is_dir() or path.suffix == ".json"):
        return [_of_classes(tracks, classes) for file in files for tracks in read_json(file)]
    if truths:
        return _read_found(find_mot(path), truths)
    options: JsonObject = {"image_size": image_size, "score_range": score_range}
    options |= {"is_truth": is_truth, "benchmark": benchmark, "classes": classes}
    return [read_mot(file, **options) for file in find_mot(path)]


def _of_classes(tracks: Tracks, classes: Sequence[str]) -> Tracks:
    """Only the objects of these classes, the others counted as left out."""
    if not classes:
        return tracks
    chosen = choose_classes(tracks.label_map, classes)
    names = tracks.label_map.names
    place = np.array([chosen.names.index(name) if name in chosen.names else -1 for name in names])
    labels = place[tracks.labels]
    other = {
        f"of class {name}": int((tracks.labels == i).sum()) for i, name in enumerate(names) if place[i] < 0
    }
    kept = replace(tracks.rows(labels >= 0), labels=labels[labels >= 0], label_map=chosen)
    return replace(
        kept, left_out={**tracks.left_out, **{why: count for why, count in other.items() if count}}
    )


def _read_found(files: Sequence[Path], truths: Sequence[Tracks]) -> list[Tracks]:
    """Predictions in text, the files of one video and its classes put together."""
    known = {each.name: each.label_map for each in truths}
    whole = {video_word(name): name for name in known} | {name: name for name in known}
    parts = {
        f"{word}-{each}": (name, label)
        for word, name in whole.items()
        for each, label in known_words(known[name].names).items()
    }
    videos: dict[str, list[Tracks]] = {}
    for file in files:
        name = sequence_name(file)
        name, label = (whole[name], None) if name in whole else parts.get(name, (name, None))
        tracks = replace(read_mot(file, label_map=known.get(name) if label is None else None), name=name)
        if label is not None:
            labels = np.full_like(tracks.labels, label)
            tracks = replace(tracks, labels=labels, label_map=known[name], has_classes=True)
        videos.setdefault(name, []).append(tracks)
    return [each[0] if len(each) == 1 else _together(each) for each in videos.values()]


def _together(parts: Sequence[Tracks]) -> Tracks:
    """The classes of one video, each of which may count its objects for itself."""
    per_row = ("frames", "track_ids", "boxes", "scores", "labels", "boxes_from_1")
    rows = {name: np.concatenate([getattr(each, name) for each in parts]) for name in per_row}
    rows["track_ids"] = distinct_ids(rows["frames"], rows["track_ids"], rows["labels"])
    longest = max(parts, key=lambda each: each.num_frames)
    return replace(longest, label_map=parts[0].label_map, **rows)


def poses_in(folder: Path) -> Path:
    """Of a folder that `pagoda track link` wrote what holds its poses; any other file or folder as it is.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "posetrack18").mkdir()
    ...     Path(folder, "posetrack18", "walk.json").touch()
    ...     poses_in(Path(folder)).name
    'posetrack18'
    """
    if not folder.is_dir() or next(files_like(folder, "*.json"), None):
        return folder
    places = (folder / name for name in ("posetrack18", "predictions"))
    return next((place for place in places if next(files_like(place, "*.json"), None)), folder)


def read_json(path: Path) -> list[Tracks]:
    """The videos of a JSON file of either kind: PoseTrack's, or predictions of `pagoda predict`."""
    content = text.read_json(path)
    is_ours = isinstance(content, dict) and "predictions" in content
    return read_predictions(path, content=content) if is_ours else read_posetrack(path, content=content)


def read_predictions(
    path: str | Path, *, skeleton: Skeleton | None = None, content: object = None
) -> list[Tracks]:
    """What `pagoda predict` wrote, one video per folder of pictures, frames in the order of the file. A video has the
    name of its folder, or of the file where that holds one video and is not called predictions.json as all are.

    Files in the order of their names as text (1, 10, 2) are put in that of their numbers. Keypoints have the names
    that stand in the file; in one without they are those of `skeleton`, else 17 are taken for COCO's, which
    `Tracks.notes` say. `content`: what was read from the file already.
    Raises ValueError when frames are missing because their pictures could not be read.
    """
    path = Path(path)
    data: object = text.read_json(path) if content is None else content
    if not isinstance(data, dict) or not isinstance(data.get("predictions"), list):
        raise ValueError(f"{path} holds no 'predictions'; expected what `pagoda predict` writes")
    with told_at(path):
        _check_complete(data.get("failed"))
        rows = [_plain_row(number, row) for number, row in enumerate(data["predictions"], 1)]
        label_map, notes = _label_map(rows, _skeleton_in(data["predictions"]) or skeleton)
        notes = tuple(f"{path}: {note}" for note in notes)
        videos: dict[str, list[dict]] = {}
        for row in rows:
            videos.setdefault(str(Path(row["file"]).parent), []).append(row)
        is_named_so = len(videos) == 1 and not _OF_ANY_VIDEO.fullmatch(path.stem)
        return [
            replace(
                _video(
                    _in_order(frames),
                    label_map,
                    path.stem if is_named_so else one_line(Path(folder).name) or path.stem,
                ),
                notes=notes,
            )
            for folder, frames in videos.items()
        ]


def _check_complete(failed: object) -> None:
    """Raises ValueError where pictures could not be read: `failed` has the reason of each."""
    if not failed:
        return
    if not isinstance(failed, list) or not all(isinstance(reason, str) for reason in failed):
        raise ValueError(
            "'failed' must be a list with a sentence for each picture that could not be read, got"
            f" {str(failed)[:100]}"
        )
    raise ValueError(
        f"{counted(len(failed), 'frame is', 'frames are')} missing because the picture could not be read"
        f" ({one_line(failed[0])[:500]}); predict again, or"
        " empty the list 'failed' to go on without"
    )


def _plain_row(number: int, row: JsonObject) -> JsonObject:
    """file (text, "" without one), image_size and objects of one picture, with numbers where numbers belong."""
    with told_at(f"prediction {number}"):
        file, size = row.get("file") or "", row["image_size"]
        sides = usable_size(*size) if isinstance(size, list | tuple) and len(size) == 2 else None
        if sides is None or not isinstance(file, str):
            raise ValueError(f"file must be text, image_size [height, width], got {str(row)[:100]}")
        objects = [_plain_object(place, each) for place, each in enumerate(row["objects"], 1)]
        return {"file": file, "image_size": sides, "objects": objects}


def _plain_object(number: int, written: JsonObject) -> JsonObject:
    """name, label, score, box_xyxy, track_id, and keypoints where there are any."""
    with told_at(f"object {number}"):
        label, track = as_whole(written["label"]), as_whole(written.get("track_id", UNLINKED))
        score, box = written["score"], written["box_xyxy"]
        if label is None or not 0 <= label < MOST_CLASSES or track is None or abs(track) >= 2**63:
            raise ValueError(f"label and track_id must be whole numbers, got {str(written)[:150]}")
        keypoints = [
            math.nan if value is None else as_number(value) for value in written.get("keypoints", [])
        ]
        numbers = [as_number(value) for value in (*box, score)]
        is_sound = all(number is not None and math.isfinite(number) for number in numbers)
        are_points = not any(number is None or math.isinf(number) for number in keypoints)  # nan: not there
        if len(numbers) != 5 or len(keypoints) % 3 or not (is_sound and are_points):
            raise ValueError(
                "score must be a number, box_xyxy four, keypoints x, y, score of each, all finite, or null in keypoints"
                f" that are not there; got {str(written)[:150]}"
            )
        plain = {
            "name": one_line(str(written["name"])),
            "label": label,
            "track_id": track,
            "score": numbers[-1],
        }
        points = {"keypoints": keypoints} if keypoints else {}
        return {**plain, "box_xyxy": numbers[:4], **points}


def _in_order(rows: list[dict]) -> list[dict]:
    names = [row["file"] for row in rows]
    is_sorted = all(names) and names == sorted(names)
    return sorted(rows, key=lambda row: natural_order(row["file"])) if is_sorted else rows


def tracks_to_predictions(tracks: Tracks) -> JsonObject:
    """The content of a JSON file that `read_predictions` reads, track ids included."""
    return {"predictions": [tracks.at(frame).to_dict() for frame in range(tracks.num_frames)], "failed": []}


def _skeleton_in(rows: list[dict]) -> Skeleton | None:
    """The one that stands beside the objects. Raises ValueError for several."""
    first: JsonObject | None = None
    for number, written in enumerate((row.get("skeleton") for row in rows), 1):
        first = written if first is None else first
        if written not in (None, first):
            raise ValueError(f"prediction {number} has another skeleton than those before; a file holds one")
    if first is None:
        return None
    with told_at("skeleton"):
        skeleton = Skeleton.from_dict(dict(first))
        return replace(skeleton, names=tuple(map(one_line, skeleton.names)))


def _label_map(rows: list[dict], skeleton: Skeleton | None) -> tuple[LabelMap, list[str]]:
    """The classes and keypoints that the objects name, and what had to be taken for granted of them."""
    objects = [each for row in rows for each in row["objects"]]
    names = {each["label"]: each["name"] for each in objects}
    numbers = {len(each["keypoints"]) // 3 for each in objects if "keypoints" in each}
    if len(numbers) > 1:
        raise ValueError(f"poses must all have the same number of keypoints, got {sorted(numbers)}")
    notes = []
    if skeleton is None and numbers == {len(COCO_17)}:
        skeleton = COCO_17
        notes.append(
            f"the file does not name its keypoints; being {len(COCO_17)}, they are taken for COCO's"
            f" ({', '.join(COCO_17.names[:3])}, …). Where they are others, write"
            ' "skeleton": {"names": […]} beside the "objects" of each picture'
        )
    if skeleton is not None and numbers not in (set(), {len(skeleton)}):
        raise ValueError(
            f"poses have {counted(numbers.pop(), 'keypoint')}, but their skeleton names {len(skeleton)}"
        )
    known = [names.get(label, f"class_{label}") for label in range(max(names, default=0) + 1)]
    return LabelMap(tuple(known), tuple(range(1, len(known) + 1)), skeleton), notes


def _video(rows: list[dict], label_map: LabelMap, name: str) -> Tracks:
    sizes = {row["image_size"] for row in rows}
    if len(sizes) > 1:
        raise ValueError(
            f"frames of one video must have one (height, width), got {', '.join(map(str, sorted(sizes)))}"
        )
    objects = [(index, each) for index, row in enumerate(rows) for each in row["objects"]]
    triples = [each["keypoints"] for _, each in objects if "keypoints" in each]
    if 0 < len(triples) < len(objects):
        raise ValueError(
            f"{len(triples)} of {counted(len(objects), 'object')} have keypoints; all or none must have them"
        )
    points = np.array(triples, dtype=np.float64).reshape(len(triples), -1, 3) if triples else None

    def column(key: str) -> np.ndarray:
        return np.array([each[key] for _, each in objects])

    frames = np.array([index for index, _ in objects], dtype=np.int64)
    labels = column("label").astype(np.int64)
    return Tracks(
        frames,
        distinct_ids(frames, column("track_id").astype(np.int64), labels),
        column("box_xyxy").astype(np.float64).reshape(-1, 4),
        column("score").astype(np.float64),
        labels,
        label_map,
        len(rows),
        next(iter(sizes)),
        name,
        keypoints=None if points is None else points[..., :2].copy(),
        keypoint_scores=None if points is None else points[..., 2].copy(),
        frame_names=tuple(row["file"] for row in rows),
    )


def match_videos(truth: Iterable[Tracks], found: Iterable[Tracks]) -> list[tuple[Tracks, Tracks]]:
    """(ground truth, predictions) of each video, matched by its name, in the order of the ground truth.

    Raises ValueError with the names that stand on one side only, or twice on one.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> walk = WalkingFigures(num_videos=2, num_frames=2)
    >>> truth, found = [walk.tracks(0), walk.tracks(1)], [walk.tracks(1), walk.tracks(0)]
    >>> [(a.name, b.name) for a, b in match_videos(truth, found)]
    [('walk_0000', 'walk_0000'), ('walk_0001', 'walk_0001')]
    """
    truth, found = list(truth), list(found)
    for what, side in (("ground truth", truth), ("predictions", found)):
        counts = Counter(each.name for each in side)
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ValueError(
                f"videos are matched by name, and in the {what} several are called {', '.join(repeated)}; rename their"
                " files or folders"
            )
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


def same_frames(truth: Tracks, found: Tracks) -> tuple[Tracks, str]:
    """Predictions with the frames of the ground truth, and what was done in words, "" where there was nothing to do.

    Frames are matched by the names of their pictures where both sides name them all: those that the predictions do
    not have are frames in which nobody was found. Otherwise by their order; text does not tell how many frames
    there are, and a tracker that saw nobody at the end has fewer.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> truth, found = (WalkingFigures(num_videos=1, num_frames=count).tracks(0) for count in (3, 2))
    >>> same_frames(truth, found)[0].num_frames
    3
    """
    mine, theirs = _frame_places(truth), _frame_places(found)
    if mine and theirs and set(theirs) <= set(mine):
        place = np.array([mine[name] for name in theirs], dtype=np.int64)
        missing = [name for name in mine if name not in theirs]
        moved = replace(
            found,
            frames=place[found.frames],
            num_frames=truth.num_frames,
            frame_names=truth.frame_names,
            labelled_frames=None,
            ignore_regions={},
        )
        said = f"{len(missing)} of {counted(len(mine), 'frame')} of '{truth.name}' are not in the predictions"
        return moved, f"{said}, the first is {missing[0]}: nobody was found there" if missing else ""
    if found.frame_names or found.num_frames >= truth.num_frames:
        return found, ""
    return replace(found, num_frames=truth.num_frames), ""


def _frame_places(tracks: Tracks) -> dict[str, int]:
    """Name of a picture → number of its frame; {} where not every frame has a name of its own."""
    names = {name: frame for frame, name in enumerate(tracks.frame_names) if name}
    return names if len(names) == tracks.num_frames else {}
