"""How well boxes were followed: HOTA, CLEAR MOT and identity scores of `Tracks` against ground truth."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pagoda.evaluation.clear import ClearCounts, ClearMatcher, most_pairs
from pagoda.evaluation.hota import FramePairs, combine, create_metrics, hota_numbers, sequence_data
from pagoda.evaluation.tracking_result import COUNTS, TrackingResult
from pagoda.ops.boxes import pairwise_iou
from pagoda.plain import checked
from pagoda.structures.tracks import UNLINKED, Tracks


@checked
@dataclass
class TrackEvaluator:
    """Add videos with `update`, then ask for the `result`. Classes are scored apart and added up.

    Predictions that match no object but lie in a region marked as ignored do not count.
    """

    min_iou: float = 0.5
    """from which on an object counts as found (CLEAR and identity; HOTA goes through all thresholds)"""
    matches_survive_gaps: bool = False
    """False: CLEAR as TrackEval and MOTChallenge count it; True: as py-motmetrics and BDD100K"""
    min_ignored_share: float = 0.5
    """of a prediction's own area inside a region to be ignored"""
    _metrics: dict[str, Any] = field(init=False, repr=False)
    _parts: dict[tuple[str, str], dict[str, Any]] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._metrics = create_metrics(self.min_iou)

    def update(self, truth: Tracks, found: Tracks) -> None:
        """Add one video. Raises ValueError when the two do not fit together."""
        check_pair(truth, found)
        if any(name == truth.name for name, _ in self._parts):
            raise ValueError(f"the video '{truth.name}' was already added; names of videos must differ")
        for label, name in enumerate(truth.label_map.names):
            frames = [self._pairs(truth, found, frame, label) for frame in range(truth.num_frames)]
            data = sequence_data(frames)
            part = {key: metric.eval_sequence(data) for key, metric in self._metrics.items()}
            part["gaps"] = self._count(frames)
            self._parts[truth.name, name] = part

    def result(self) -> TrackingResult:
        """All videos together, each video, and each class."""
        if not self._parts:
            raise ValueError("nothing to score yet; call update(truth, found) for each video")
        videos = dict.fromkeys(name for name, _ in self._parts)
        classes = dict.fromkeys(name for _, name in self._parts)
        return TrackingResult(
            self._numbers(self._parts),
            {v: self._numbers({k: p for k, p in self._parts.items() if k[0] == v}) for v in videos},
            {c: self._numbers({k: p for k, p in self._parts.items() if k[1] == c}) for c in classes},
            self._protocol(),
        )

    def _pairs(self, truth: Tracks, found: Tracks, frame: int, label: int) -> FramePairs:
        here, there = truth.frame_slice(frame), found.frame_slice(frame)
        is_ignored = np.zeros(here.stop - here.start, bool) if truth.ignored is None else truth.ignored[here]
        is_mine = (truth.labels[here] == label) & ~is_ignored
        is_found = found.labels[there] == label
        objects, predictions = truth.boxes[here][is_mine], found.boxes[there][is_found]
        ious = pairwise_iou(torch.from_numpy(objects), torch.from_numpy(predictions)).numpy()
        ids = found.track_ids[there][is_found]
        regions = truth.boxes[here][is_ignored]
        if len(regions) and len(predictions):
            kept = ~self._excused(ious, predictions, regions)
            ious, ids = ious[:, kept], ids[kept]
        return FramePairs(truth.track_ids[here][is_mine], ids, ious)

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

    def _numbers(self, parts: dict[tuple[str, str], dict[str, Any]]) -> dict[str, float]:
        merged = {
            key: combine(metric, {where: part[key] for where, part in parts.items()})
            for key, metric in self._metrics.items()
        }
        identity = merged["Identity"]
        if self.matches_survive_gaps:
            clear = _gap_numbers(sum((part["gaps"] for part in parts.values()), ClearCounts()))
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
        return f"found from IoU {self.min_iou:g}; CLEAR: {rule}; MOTP is the mean IoU of what was found"


def shares_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N, M) share of the area of each of N boxes that lies inside each of M regions, all xyxy."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / np.maximum(areas, 1e-12)[:, None]


def check_pair(truth: Tracks, found: Tracks) -> None:
    """Raises ValueError unless the two are of the same video, with the same classes, and all rows are linked."""
    if truth.name != found.name:
        raise ValueError(f"ground truth is of the video '{truth.name}', predictions are of '{found.name}'")
    what = f"the video '{truth.name}'"
    if truth.num_frames != found.num_frames:
        raise ValueError(
            f"{what} has {truth.num_frames} frames in the ground truth and {found.num_frames} in the predictions;"
            " frames without objects count too, so give both files the same frames"
        )
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
                f"{what}: {loose} of {len(tracks)} objects in the {side} have no track id; identities cannot be"
                " scored without them: link the detections first (`pagoda track link`), or keep `.linked()` only"
            )


def _clear_numbers(clear: dict[str, Any]) -> dict[str, float]:
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
