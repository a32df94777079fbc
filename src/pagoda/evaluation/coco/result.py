"""What a detection evaluation says: numbers, curves, and the protocol they were measured with."""

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from pagoda.evaluation.coco.operating import OperatingPoints
from pagoda.messages import aligned
from pagoda.plain import JsonObject

TASK_NAMES = {"bbox": "Boxes", "segm": "Masks", "keypoints": "Keypoints"}


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """COCO metrics as fractions 0 … 1; nan where there was no object of that class or size.

    >>> nothing = {"recall": np.linspace(0, 1, 101), "precision": {}, "protocol": "COCO …", "num_objects": 3}
    >>> result = DetectionResult({"AP": 0.5, "segm/AP": 0.25}, {}, num_images=1, **nothing)
    >>> result.deciding, result.own_metrics
    (('segm/AP', 0.25), {'AP': 0.5})
    >>> print(result.table())
       AP
    0.500
    <BLANKLINE>
    COCO …
    """

    metrics: dict[str, float]
    """AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, in this order. The AR1/10/100 keys
    carry the number of detections allowed per image, so `max_detections=300` makes the last of them AR300.
    After these come the numbers of `others`, as segm/AP … and keypoints/AP …"""
    per_class: dict[str, dict[str, float]]
    """class name → AP, AP50, AR100 (or what `max_detections` makes of it), objects, detections"""
    recall: np.ndarray
    """(101,) recall grid of the curves"""
    precision: dict[str, np.ndarray]
    """class name → (2, 101) precision at IoU .50 and at IoU .75; nan for a class without objects"""
    protocol: str
    """How the numbers were measured; belongs next to them wherever they are printed"""
    num_images: int
    """of the ground truth, those without detections included"""
    num_objects: int
    """Annotated objects, crowd regions not counted"""
    warnings: tuple[str, ...] = ()
    """What makes the numbers mean less than they seem to, one sentence each"""
    operating: OperatingPoints | None = None
    """Scores to cut at, confusions and calibration, where they were asked for"""
    others: dict[str, "DetectionResult"] = field(default_factory=dict)
    """"segm" and "keypoints", as far as the detections had masks or keypoints: the same once more for them"""

    @property
    def own_metrics(self) -> dict[str, float]:
        """`metrics` without those of `others`."""
        return {name: value for name, value in self.metrics.items() if "/" not in name}

    @property
    def deciding(self) -> tuple[str, float]:
        """(what, value) by which models are compared: AP of masks, of keypoints, or the mean of both where the model
        has them and the data, too; else AP of boxes."""
        values = {name: self.metrics.get(f"{name}/AP", np.nan) for name in ("segm", "keypoints")}
        known = {name: value for name, value in values.items() if not np.isnan(value)}
        if not known:
            return "AP", self.metrics["AP"]
        return " + ".join(f"{name}/AP" for name in known), sum(known.values()) / len(known)

    def line(self) -> str:
        """What decides, and the AP of boxes, in a few words."""
        what, value = self.deciding
        told = "" if what == "AP" else f"{what} {value:.3f}  "
        return f"{told}AP {self.metrics['AP']:.3f}  AP50 {self.metrics['AP50']:.3f}"

    def table(self) -> str:
        """Plain text: all metrics, then one row per class, then the protocol, and where to cut; the same for each of
        `others`."""
        parts = [self._own_table()]
        for task, result in self.others.items():
            parts.append(f"{TASK_NAMES[task]}\n{result.table()}")
        return "\n\n".join(parts)

    def _own_table(self) -> str:
        metrics = self.own_metrics
        overall = aligned([list(metrics), [_fraction(value) for value in metrics.values()]], first_left=False)
        below = "\n".join([self.protocol, *(f"warning: {each}" for each in self.warnings)])
        if self.operating is not None:
            below += f"\n\n{self.operating.table()}"
        if not self.per_class:
            return f"{overall}\n\n{below}"
        keys = list(next(iter(self.per_class.values())))
        rows = [["class", *keys]]
        for name, row in self.per_class.items():
            rows.append([name, *(_fraction(v) if isinstance(v, float) else str(v) for v in row.values())])
        return f"{overall}\n\n{aligned(rows)}\n\n{below}"

    def to_dict(self) -> JsonObject:
        """Plain lists and numbers, ready for JSON; None where the value is undefined."""
        others = {task: result.to_dict() for task, result in self.others.items()}
        return {
            **({"others": others} if others else {}),
            "metrics": {key: _jsonable(value) for key, value in self.metrics.items()},
            "per_class": {
                name: {key: _jsonable(value) for key, value in row.items()}
                for name, row in self.per_class.items()
            },
            "pr_curves": {
                "recall": self.recall.tolist(),
                "precision_50": {name: _jsonable_row(curve[0]) for name, curve in self.precision.items()},
                "precision_75": {name: _jsonable_row(curve[1]) for name, curve in self.precision.items()},
            },
            **({} if self.operating is None else {"operating": self.operating.to_dict()}),
            "protocol": self.protocol,
            "warnings": list(self.warnings),
            "num_images": self.num_images,
            "num_objects": self.num_objects,
        }


CAUTION = 0.15
"""of half an interval: bootstrap intervals of AP are a few percent too narrow, and without this more than one in twenty
pairs of equal models would be told apart (benchmarks/RESULTS.md)"""


@dataclass(frozen=True, kw_only=True)
class ApDifference:
    """AP of two models on the same pictures, as fractions 0 … 1; nan without objects.

    >>> small = ApDifference(ap=0.374, other_ap=0.37, low=-0.004, high=0.012)
    >>> round(small.difference, 3)
    0.004
    >>> small.verdict(num_images=100)
    'cannot be told: +0.4 points (95 % interval -0.4 … +1.2); to tell as little takes about 530 pictures'
    """

    ap: float
    """of the first"""
    other_ap: float
    """of the second"""
    low: float
    """lower end of the 95 % interval of their difference, as so many pictures allow to tell"""
    high: float
    """its upper end"""

    @property
    def difference(self) -> float:
        """`ap` − `other_ap`."""
        return self.ap - self.other_ap

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Which one is, the second being `ap`; None where the interval is not beyond 0 by `CAUTION` of its half."""
        margin = CAUTION * (self.high - self.low) / 2
        return "second" if self.low > margin else "first" if self.high < -margin else None

    def verdict(self, num_images: int, what: str = "pictures") -> str:
        """Which is better, the second being `ap`; or how many pictures instead of `num_images` would tell.

        `what` the samples are made of, pictures or videos.
        """
        if math.isnan(self.difference) or math.isnan(self.low):
            return "nothing to compare: no objects"
        points = f"{100 * abs(self.difference):.1f} points (95 % interval"
        if self.better == "second":
            return f"the second is better by {points} {100 * self.low:.1f} … {100 * self.high:.1f})"
        if self.better == "first":
            return f"the first is better by {points} {-100 * self.high:.1f} … {-100 * self.low:.1f})"
        near = ", too near to 0" if self.low > 0 or self.high < 0 else ""
        told = (
            f"cannot be told: {_signed(self.difference)} points"
            f" (95 % interval {_signed(self.low)} … {_signed(self.high)}{near})"
        )
        if abs(self.difference) < 5e-5:
            return told
        needed = num_images * ((1 + CAUTION) * (self.high - self.low) / 2 / self.difference) ** 2
        rounded = math.ceil(float(f"{max(needed, num_images + 1):.1e}"))
        return f"{told}; to tell as little takes about {rounded:,} {what}"

    def row(self) -> str:
        """`other_ap`, `ap`, their difference and its interval, in points."""
        numbers = ["–" if math.isnan(value) else f"{100 * value:.1f}" for value in (self.other_ap, self.ap)]
        change, low, high = (_signed(value) for value in (self.difference, self.low, self.high))
        return " ".join([*(f"{each:>8}" for each in (*numbers, change)), f"  {low} … {high}"])

    def to_dict(self) -> dict[str, float | None]:
        """ap, other_ap, difference, low, high; None where undefined."""
        names = ("ap", "other_ap", "difference", "low", "high")
        return {name: _jsonable(getattr(self, name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class ErrorChange:
    """How many errors of one kind two models make on the same pictures, the mean of the runs of each.

    >>> fewer = ErrorChange(first=40, second=25, low=-22, high=-8)
    >>> fewer.change, fewer.verdict
    (-15, 'fewer')
    """

    first: float
    """of the first model"""
    second: float
    """of the second"""
    low: float
    """lower end of the 95 % interval of the change, for other pictures of this number"""
    high: float
    """its upper end"""

    @property
    def change(self) -> float:
        """`second` − `first`."""
        return self.second - self.first

    @property
    def verdict(self) -> Literal["fewer", "more", "cannot be told"]:
        """What may be said of the second."""
        if self.high < 0:
            return "fewer"
        return "more" if self.low > 0 else "cannot be told"

    def row(self) -> str:
        """`first`, `second`, the change, its interval and the verdict."""
        counts = [f"{value:8g}" for value in (self.first, self.second)]
        low, high = (f"{round(value) + 0:+d}" for value in (self.low, self.high))
        return " ".join([*counts, f"{self.change:>+8g}", f"  {low} … {high}  {self.verdict}"])

    def to_dict(self) -> JsonObject:
        """first, second, change, low, high, verdict."""
        return {**asdict(self), "change": self.change, "verdict": self.verdict}


def _signed(value: float) -> str:
    """In points; what rounds to nothing is +0.0, and what is not known –."""
    return "–" if math.isnan(value) else f"{round(100 * value, 1) + 0.0:+.1f}"


def _fraction(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _jsonable(value: float) -> float | None:
    return None if math.isnan(value) else value


def _jsonable_row(values: np.ndarray) -> list[float | None]:
    return [_jsonable(value) for value in values.tolist()]
