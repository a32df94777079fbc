"""How well boxes were followed: HOTA, CLEAR MOT and identity scores of `Tracks` against ground truth."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from pagoda.evaluation.tracks.clear import ClearCounts, ClearMatcher, most_pairs
from pagoda.evaluation.tracks.hota import (
    FramePairs,
    Metric,
    Scores,
    combine,
    create_metrics,
    hota_numbers,
    sequence_data,
)
from pagoda.evaluation.tracks.resampling import VideoCounts, video_counts
from pagoda.evaluation.tracks.result import COUNTS, TrackingResult
from pagoda.evaluation.tracks.rules import (
    boxes_as_in_files,
    matched_distractors,
    one_class_each,
    shares_inside,
    with_same_classes,
    with_unasked_as_distractors,
)
from pagoda.messages import counted
from pagoda.ops.boxes import pairwise_iou
from pagoda.plain import checked
from pagoda.structures.left_out import check_something_counts, describe_left_out
from pagoda.structures.tracks import LONGEST, UNLINKED, Tracks


class _Part(NamedTuple):
    """The scores of one class of one video."""

    scores: dict[str, Scores]
    """of HOTA, CLEAR and Identity"""
    gaps: ClearCounts
    """CLEAR as py-motmetrics counts it"""


@checked
@dataclass
class TrackEvaluator:
    """Scores of followed boxes: add videos with `update`, then ask for the `result`.

    Classes are matched by name, scored apart and added up. Only labelled frames count. Predictions that match no
    object but lie in an ignored region do not, nor do those that fit a distractor best (`Tracks.regions`,
    `Tracks.distractors`); the protocol says by whose rules, the notes how many were left out.

    >>> import pagoda.data.drawn.walking as walking
    >>> truth = walking.WalkingFigures(num_videos=1, num_frames=4, seed=1)[0].tracks
    >>> evaluator = TrackEvaluator()
    >>> evaluator.update(truth, replace(truth, track_ids=truth.track_ids + 5))  # other names, the same people
    >>> metrics = evaluator.result().metrics
    >>> metrics["HOTA"], metrics["MOTA"], metrics["IDSW"]
    (1.0, 1.0, 0.0)
    """

    min_iou: float = 0.5
    """from which on an object counts as found (CLEAR and identity; HOTA goes through all thresholds)"""
    matches_survive_gaps: bool = False
    """False: CLEAR as TrackEval and MOTChallenge count it; True: as py-motmetrics and BDD100K"""
    min_ignored_share: float = 0.5
    """of a prediction's own area inside a region to be ignored"""

    def __post_init__(self) -> None:
        self._metrics: dict[str, Metric] = create_metrics(self.min_iou)
        self._parts: dict[tuple[str, str], _Part] = {}
        """(video, class) → scores, where predictions without classes are of any class"""
        self._class_parts: dict[tuple[str, str], _Part] = {}
        """the same, but of each class of the ground truth alone"""
        self._videos: list[tuple[Tracks, Tracks]] = []
        self._taken_out: dict[str, int] = {}
        """why → how many predictions"""

    def update(self, truth: Tracks, found: Tracks) -> None:
        """Add one video: its ground truth and what was found.

        Raises ValueError when the two are of other videos or lengths, share no class or have objects without a track
        id, and for a name that was added before.
        """
        given = with_unasked_as_distractors(truth, found)
        truth, found = with_same_classes(given, found)
        _check_pair(truth, found)
        if any(name == truth.name for name, _ in self._parts):
            raise ValueError(f"the video '{truth.name}' was already added; names of videos must differ")
        if truth.labelled_frames is not None:
            found = found.rows(truth.labelled_frames[found.frames])
        for label, name in enumerate(truth.label_map.names):
            part = self._score(truth, found, label, self._taken_out)
            self._parts[truth.name, name] = self._class_parts[truth.name, name] = part
        if truth.label_map is not given.label_map:
            del self._class_parts[truth.name, truth.label_map.names[0]]
            for name, alone in one_class_each(given).items():
                self._class_parts[truth.name, name] = self._score(alone, found, 0, {})
        self._videos.append((truth, found))

    def _score(self, truth: Tracks, found: Tracks, label: int, taken_out: dict[str, int]) -> _Part:
        boxes = boxes_as_in_files(truth, found)
        truth, found = replace(truth, boxes=boxes[0]), replace(found, boxes=boxes[1])
        frames = [self._pairs(truth, found, frame, label, taken_out) for frame in range(truth.num_frames)]
        data = sequence_data(frames)
        scores = {key: metric.eval_sequence(data) for key, metric in self._metrics.items()}
        return _Part(scores, self._count(frames))

    def result(self) -> TrackingResult:
        """The scores so far: of all videos together, of each video, and of each class.

        Raises ValueError where rows of the ground truth were left out and none counts.
        """
        if not self._parts:
            raise ValueError("nothing to score yet; call update(truth, found) for each video")
        truths = [truth for truth, _ in self._videos]
        if any(truth.left_out for truth in truths):
            check_something_counts(truths)
        videos = dict.fromkeys(name for name, _ in self._parts)
        parts = self._class_parts
        classes = dict.fromkeys(name for _, name in parts)
        return TrackingResult(
            self._numbers(self._parts),
            {v: self._numbers({k: p for k, p in self._parts.items() if k[0] == v}) for v in videos},
            {c: self._numbers({k: p for k, p in parts.items() if k[1] == c}) for c in classes},
            self._protocol(),
            self._notes(),
        )

    def video_counts(self) -> VideoCounts:
        """What adds up over the videos so far: for scores of samples of them."""
        videos: dict[str, list[_Part]] = {}
        for (video, _), part in self._parts.items():
            videos.setdefault(video, []).append(part)
        return video_counts(videos, survive_gaps=self.matches_survive_gaps)

    def _pairs(
        self, truth: Tracks, found: Tracks, frame: int, label: int, taken_out: dict[str, int]
    ) -> FramePairs:
        here, there = truth.frame_slice(frame), found.frame_slice(frame)
        count = here.stop - here.start
        is_ignored = np.zeros(count, bool) if truth.ignored is None else truth.ignored[here]
        is_region = is_ignored if truth.regions is None else truth.regions[here]
        is_mine = (truth.labels[here] == label) & ~is_ignored
        is_found = found.labels[there] == label
        boxes, predictions = truth.boxes[here], found.boxes[there][is_found]
        ious = pairwise_iou(torch.from_numpy(boxes), torch.from_numpy(predictions)).numpy()
        kept = np.ones(len(predictions), bool)
        if truth.distractors is not None and len(predictions):
            taken = matched_distractors(ious, truth.distractors[here])
            what = "a distractor" if truth.of_other_class is None else "an object of another class"
            kept &= ~_noted(taken_out, f"matched to {what}", taken)
        if is_region.any() and len(predictions):
            taken = self._excused(ious[is_mine], predictions, boxes[is_region])
            kept &= ~_noted(taken_out, "in an ignored region", taken & kept)
        ids = found.track_ids[there][is_found]
        return FramePairs(truth.track_ids[here][is_mine], ids[kept], ious[is_mine][:, kept])

    def _excused(self, ious: np.ndarray, predictions: np.ndarray, regions: np.ndarray) -> np.ndarray:
        is_free = np.ones(len(predictions), bool)
        is_free[most_pairs(np.where(ious >= self.min_iou, 1 - ious, np.nan))[1]] = False
        return is_free & (shares_inside(predictions, regions) > self.min_ignored_share).any(1)

    def _count(self, frames: list[FramePairs]) -> ClearCounts:
        matcher = ClearMatcher()
        for frame in frames:
            distances = np.where(frame.similarities >= self.min_iou, 1 - frame.similarities, np.nan)
            matcher.update(frame.objects, frame.hypotheses, distances)
        return matcher.result()

    def _numbers(self, parts: dict[tuple[str, str], _Part]) -> dict[str, float]:
        merged = {
            key: combine(metric, {where: part.scores[key] for where, part in parts.items()})
            for key, metric in self._metrics.items()
        }
        identity = merged["Identity"]
        if self.matches_survive_gaps:
            clear = _gap_numbers(sum((part.gaps for part in parts.values()), ClearCounts()))
        else:
            clear = _clear_numbers(merged["CLEAR"])
        ids = {name: float(identity[name]) for name in ("IDF1", "IDP", "IDR")}
        numbers = {**hota_numbers(merged["HOTA"]), **clear, **ids}
        if clear["objects"]:
            return numbers
        return {name: value if name in COUNTS else float("nan") for name, value in numbers.items()}

    def _protocol(self) -> str:
        rule = (
            "pairs survive gaps (py-motmetrics)"
            if self.matches_survive_gaps
            else "pairs survive one frame (TrackEval)"
        )
        text = f"found from IoU {self.min_iou:g}; CLEAR: {rule}; MOTP is the mean IoU of what was found"
        rules = dict.fromkeys(truth.rules for truth, _ in self._videos if truth.rules)
        return "\n".join([text, *(f"ground truth: {each}" for each in rules)])

    def _notes(self) -> tuple[str, ...]:
        """What does not count, and why."""
        truth, found = (describe_left_out(side) for side in zip(*self._videos, strict=True))
        taken = ", ".join(f"{count} {why}" for why, count in self._taken_out.items())
        found = ", ".join(filter(None, (found, taken)))
        notes = {"not counted of the ground truth": truth, "left out of the predictions": found}
        return tuple(f"{what}: {why}" for what, why in notes.items() if why)


def _noted(taken_out: dict[str, int], why: str, taken: np.ndarray) -> np.ndarray:
    if taken.any():
        taken_out[why] = taken_out.get(why, 0) + int(taken.sum())
    return taken


def _check_pair(truth: Tracks, found: Tracks) -> None:
    """Raises ValueError unless the two are of the same video, with the same classes, and all rows are linked."""
    check_frames(truth, found)
    what = f"the video '{truth.name}'"
    if truth.label_map.names != found.label_map.names:
        raise ValueError(
            f"{what} has the classes {', '.join(truth.label_map.names)} in the ground truth and"
            f" {', '.join(found.label_map.names)} in the predictions"
        )
    for side, tracks in (("ground truth", truth), ("predictions", found)):
        counts = np.ones(len(tracks), bool) if tracks.ignored is None else ~tracks.ignored
        loose = int((tracks.track_ids[counts] == UNLINKED).sum())
        if loose:
            raise ValueError(
                f"{what}: {loose} of {len(tracks)} objects in the {side} have no track id;"
                " identities cannot be"
                " scored without them: link the detections first (`pagoda track link`), or keep `.linked()` only"
            )


def check_frames(truth: Tracks, found: Tracks) -> None:
    """Raises ValueError unless the two are of the same video and of the same length, with what to do.

    >>> import pagoda.data.drawn.walking as walking
    >>> short, long = (walking.WalkingFigures(num_videos=1, num_frames=n)[0].tracks for n in (2, 3))
    >>> check_frames(short, long)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the video '...' has 2 frames in the ground truth and 3 in the predictions; ...
    """
    if truth.name != found.name:
        raise ValueError(f"ground truth is of the video '{truth.name}', predictions are of '{found.name}'")
    if truth.num_frames == found.num_frames:
        return
    shorter = truth if truth.num_frames < found.num_frames else found
    remedy = shorter.length_remedy.replace(LONGEST, str(max(truth.num_frames, found.num_frames)))
    remedy = remedy or "frames without objects count too, so give both files the same frames"
    raise ValueError(
        f"the video '{truth.name}' has {counted(truth.num_frames, 'frame')} in the ground truth and"
        f" {found.num_frames} in the"
        f" predictions; {remedy}"
    )


def _clear_numbers(clear: Scores) -> dict[str, float]:
    names = {"Rcll": "CLR_Re", "Prcn": "CLR_Pr", "FP": "CLR_FP", "FN": "CLR_FN"}
    counts = {name: float(clear[source]) for name, source in names.items()}
    same = {name: float(clear[name]) for name in ("MOTA", "MOTP", "IDSW", "Frag", "MT", "PT", "ML")}
    objects = clear["CLR_TP"] + clear["CLR_FN"]
    if not clear["CLR_TP"]:
        same["MOTP"] = float("nan")
    return {**same, **counts, "objects": float(objects)}


def _gap_numbers(counts: ClearCounts) -> dict[str, float]:
    metrics = counts.metrics()
    return {
        "MOTA": metrics["mota"],
        "MOTP": 1 - metrics["mean_distance"],
        "IDSW": float(counts.switches),
        "Frag": float(counts.fragmentations),
        "MT": float(counts.mostly_tracked),
        "PT": float(counts.partly_tracked),
        "ML": float(counts.mostly_lost),
        "Rcll": metrics["recall"],
        "Prcn": metrics["precision"],
        "FP": float(counts.false_positives),
        "FN": float(counts.misses),
        "objects": float(counts.objects),
    }
