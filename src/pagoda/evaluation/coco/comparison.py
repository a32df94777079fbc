"""Which of two models is better, by how much and how surely: both on the same samples of the same pictures."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from pagoda.evaluation.coco.bootstrap import draw_samples, interval, resampled_ap
from pagoda.evaluation.coco.matching import Matches
from pagoda.evaluation.coco.picture_pairs import PicturePair
from pagoda.evaluation.coco.result import ApDifference, ErrorChange
from pagoda.evaluation.coco.scoring import SIZES, Task
from pagoda.evaluation.coco.thresholds import best_f1, counts_above
from pagoda.plain import checked

Run = dict[Task, Matches]
"""what one model found, by what it is scored by"""


@dataclass(frozen=True, kw_only=True)
class PictureChange:
    """What the second model does otherwise in one picture, each from its scores of best F1 on."""

    image_id: int | str
    """of the data set"""
    found: float
    """objects that are found more, at an IoU of .5; less than 0: fewer"""
    wrong: float
    """detections more that find nothing"""

    @property
    def gain(self) -> float:
        """Objects found more, less the detections more that are wrong."""
        return self.found - self.wrong


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second model beside the first, on the same pictures."""

    parts: dict[str, ApDifference]
    """AP, AP50, AP75, APs, APm, APl, "AP of CLASS"; of masks under segm/, of keypoints under keypoints/"""
    pictures: list[PictureChange]
    """those in which anything is otherwise, the greatest gain first"""
    num_images: int
    """that both were scored on"""
    num_runs: tuple[int, int]
    """of the first and of the second: seeds of one training"""
    rounds: int
    """samples that the intervals are from"""
    left_out: tuple[int, int] = (0, 0)
    """detections of the first and of the second of classes that the data do not have"""
    errors: dict[str, ErrorChange] = field(default_factory=dict)
    """"wrong: duplicate", "missed: loose box" …, by boxes, each model from its scores of best F1 on"""
    pairs: list[PicturePair] = field(default_factory=list)
    """what both find in the pictures that gained and lost most, where it was asked for"""

    def table(self) -> str:
        """Every part with its interval, and what may be said of AP."""
        width = max(map(len, self.parts))
        lines = [f"{'':{width}}    first   second   change   95 % interval"]
        lines += [f"{name:{width}} {difference.row()}" for name, difference in self.parts.items()]
        verdicts = [
            f"{name}: {self.parts[name].verdict(self.num_images)}"
            for name in ("AP", "segm/AP", "keypoints/AP")
            if name in self.parts
        ]
        return "\n".join([*lines, *self._error_lines(), "", *verdicts, self.protocol()])

    def _error_lines(self) -> list[str]:
        width = max(map(len, (*self.parts, *self.errors)))
        rows = [f"{name:{width}} {change.row()}" for name, change in self.errors.items()]
        title = f"{'':{width}}    first   second   change   95 % interval"
        return ["", "errors (boxes, IoU .5, from the scores of best F1 on)", title, *rows] if rows else []

    def protocol(self) -> str:
        """What the intervals cover."""
        first, second = self.num_runs
        seeds = "pictures alone, not other seeds" if (first, second) == (1, 1) else "pictures and seeds"
        told = (
            f"{self.num_images} pictures, {self.rounds} bootstrap samples of them, the same for both; runs: {first} and"
            f" {second}; the intervals cover other {seeds}"
        )
        if not any(self.left_out):
            return told
        before, now = self.left_out
        return f"{told}; of classes that the data do not have, left out: {before} and {now} detections"

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and names; None for a part without objects."""
        return {
            "parts": {name: each.to_dict() for name, each in self.parts.items()},
            "pictures": [asdict(each) for each in self.pictures],
            "num_images": self.num_images,
            "num_runs": list(self.num_runs),
            "rounds": self.rounds,
            "left_out": list(self.left_out),
            "errors": {name: each.to_dict() for name, each in self.errors.items()},
            "protocol": self.protocol(),
        }


@checked
def compare_runs(
    first: Sequence[Run], second: Sequence[Run], names: Sequence[str], *, rounds: int = 2000, seed: int = 0
) -> Comparison:
    """Score both on `rounds` samples of the pictures; of several runs of a side a sample draws as many, too.

    Args:
        first: runs of one model, seeds of its training for example; all on the same ground truth.
        second: of the other one.
        names: of the classes, as numbered in the ground truth.

    Raises ValueError where a side has no run or nothing that both are scored by.
    """
    if not first or not second:
        raise ValueError("a comparison needs a run on both sides")
    tasks = [task for task in first[0] if all(task in run for run in (*first, *second))]
    if not tasks:
        raise ValueError("the two find nothing of one kind: boxes, masks, keypoints")
    truth = first[0][tasks[0]].truth
    drawn = draw_samples(len(truth.image_ids), rounds, seed)
    drawn = np.concatenate([np.ones_like(drawn[:1]), drawn])  # the first sample is all pictures as they are
    chance = np.random.default_rng(seed)
    parts = {}
    for task in tasks:
        sides = [_side([run[task] for run in runs], task, names, drawn, chance) for runs in (first, second)]
        parts |= {name: _difference(sides[1][name], sides[0][name], drawn.shape[1]) for name in sides[0]}
    return Comparison(
        parts=parts,
        pictures=_changes([run[tasks[-1]] for run in first], [run[tasks[-1]] for run in second]),
        num_images=len(truth.image_ids),
        num_runs=(len(first), len(second)),
        rounds=rounds,
    )


@checked
def ap_intervals(
    run: Run, names: Sequence[str], *, rounds: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """part → the ends of the 95 % interval of one model's "AP", "AP50", "AP of cat", "segm/AP" …, on `rounds` samples
    of the pictures; nan where a part is undefined. `names` are those of the classes.
    """
    truth = next(iter(run.values())).truth
    drawn = draw_samples(len(truth.image_ids), rounds, seed)
    parts: dict[str, np.ndarray] = {}
    for task, matches in run.items():
        parts |= _parts(resampled_ap(matches, drawn), task, names)
    return {name: interval(values, drawn.shape[1]) for name, values in parts.items()}


def _side(
    runs: Sequence[Matches], task: Task, names: Sequence[str], drawn: np.ndarray, chance: np.random.Generator
) -> dict[str, np.ndarray]:
    """part → (1 + rounds,) mean of the runs, in a sample of as many that are drawn with replacement."""
    scored = [_parts(resampled_ap(run, drawn), task, names) for run in runs]
    weights = _run_weights(len(runs), len(drawn), chance)
    return {
        name: sum(weights[:, number] * each[name] for number, each in enumerate(scored)) for name in scored[0]
    }


def _run_weights(num_runs: int, rounds: int, chance: np.random.Generator) -> np.ndarray:
    """(rounds, runs) shares of as many runs that are drawn with replacement; in the first round all are equal."""
    weights = chance.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=rounds) / num_runs
    weights[0] = 1 / num_runs
    return weights


def _parts(ap: np.ndarray, task: Task, names: Sequence[str]) -> dict[str, np.ndarray]:
    """part → (rounds,), of (rounds, S, T, classes)."""
    prefix = "" if task == "bbox" else f"{task}/"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        parts = {
            "AP": np.nanmean(ap[:, 0], axis=(1, 2)),
            "AP50": np.nanmean(ap[:, 0, 0], axis=1),
            "AP75": np.nanmean(ap[:, 0, 5], axis=1),
        }
        for place, size in enumerate(SIZES[task]):
            if size:
                parts[f"AP{size}"] = np.nanmean(ap[:, place], axis=(1, 2))
        for place, name in enumerate(names):
            parts[f"AP of {name}"] = ap[:, 0, :, place].mean(1)
    return {f"{prefix}{name}": values for name, values in parts.items()}


def _difference(mine: np.ndarray, theirs: np.ndarray, num_images: int) -> ApDifference:
    """Of all pictures; the interval is that of the samples in which both are defined."""
    low, high = interval((mine - theirs)[1:], num_images)
    return ApDifference(ap=float(mine[0]), other_ap=float(theirs[0]), low=low, high=high)


Counts = Mapping[str, np.ndarray]
"""kind of error → (images,) how many one run makes in each picture"""


def error_changes(
    first: Sequence[Counts], second: Sequence[Counts], *, rounds: int = 2000, seed: int = 0
) -> dict[str, ErrorChange]:
    """The change of each kind of error, on the same samples of pictures (and runs) as in `compare_runs`.

    The scores from which errors are counted stay those of all pictures.

    >>> before, now = {"missed: loose box": np.full(50, 3)}, {"missed: loose box": np.full(50, 1)}
    >>> error_changes([before], [now], rounds=100)["missed: loose box"].row()
    '     150       50     -100   -100 … -100  fewer'
    """
    tables = [np.array([list(run.values()) for run in runs], np.float64) for runs in (first, second)]
    drawn = draw_samples(tables[0].shape[-1], rounds, seed)
    drawn = np.concatenate([np.ones_like(drawn[:1]), drawn]).astype(np.float64)
    chance = np.random.default_rng(seed)
    before, now = (
        np.einsum(
            "irk,ri->rk", drawn @ table.transpose(0, 2, 1), _run_weights(len(table), len(drawn), chance)
        )
        for table in tables
    )
    changes = {}
    for kind, name in enumerate(first[0]):
        low, high = interval((now - before)[1:, kind], drawn.shape[1])
        changes[name] = ErrorChange(
            first=float(before[0, kind]), second=float(now[0, kind]), low=low, high=high
        )
    return changes


def _changes(first: Sequence[Matches], second: Sequence[Matches]) -> list[PictureChange]:
    before, now = (
        np.mean([counts_above(run, best_f1(run)) for run in runs], axis=0) for runs in (first, second)
    )
    found, wrong = now - before
    ids = first[0].truth.image_ids
    changes = [
        PictureChange(image_id=ids[image], found=float(found[image]), wrong=float(wrong[image]))
        for image in np.flatnonzero((found != 0) | (wrong != 0)).tolist()
    ]
    return sorted(changes, key=lambda change: -change.gain)
