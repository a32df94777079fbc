"""What is told about a model's coverage of a data set, and what to do about it."""

from dataclasses import asdict, dataclass, field

from pagoda.messages import counted
from pagoda.plain import JsonObject

GOOD_IOU = 0.5
MAX_SHARE_UNFIT = 0.1
"""of objects with no anchor of GOOD_IOU, before a remedy is named"""


@dataclass
class CoverageReport:
    """How well a model's locations or anchors fit the objects of a data set: what its training would see of them.

    >>> print(CoverageReport("fcos", "800/1333 pixels", "points", 4, 4, pictures=2, by_level={3: 3, 4: 1}).text())
    Coverage of 4 of 4 objects in 2 pictures by the points of fcos at 800/1333 pixels
      without a positive: 0 (0.0%)
      by level: P3 3, P4 1
      most in a picture: 0, max_detections: 0
      overlapping their class by over 0: 0 (0.0%)
      → nothing to do
    """

    model: str
    """its zoo name, or its class"""
    input_size: str
    """short and long side in pixels"""
    kind: str
    """"points", "anchors" or "cells" """
    objects: int
    """examined"""
    objects_in_all: int
    """learnable ones in the data set"""
    pictures: int
    """that hold the examined objects"""
    uncovered: int = 0
    """no positive location or anchor: never learnt"""
    hidden: int = 0
    """of the uncovered: they fit a location or anchor, but others took it"""
    by_level: dict[int, int] = field(default_factory=dict)
    """objects by the level that gives them most positives"""
    by_size: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    """"original" and "network" → small, medium, large → objects, uncovered"""
    uncovered_sides: dict[str, float] = field(default_factory=dict)
    """smallest, median, largest side (square root of area) of the uncovered ones in network pixels"""
    anchor_fit: dict[str, float] | None = None
    """best IoU of any anchor over objects: median, lowest, share below 0.5; None without anchors"""
    max_objects_in_picture: int = 0
    """learnable ones in the fullest of the pictures"""
    max_detections: int | None = 0
    """how many objects of a picture the model may report; None: all"""
    crowded_pictures: int = 0
    """with more objects than the model may report"""
    suppressed: int = 0
    """objects that overlap one of their class by more than `max_iou`: suppression keeps only one of both"""
    max_iou: float = 0.0
    """over which the model's suppression removes the weaker of two boxes"""
    examples: list[str] = field(default_factory=list)
    """the first uncovered objects: file, box as annotated"""
    remedies: list[str] = field(default_factory=list)
    """what to do, a sentence for each thing that does not fit"""

    def to_dict(self) -> JsonObject:
        """Plain lists, numbers and words, ready for JSON."""
        return {**asdict(self), "by_level": {str(level): count for level, count in self.by_level.items()}}

    def text(self) -> str:
        """Plain text for a terminal: the counts, the first uncovered objects, what to do."""
        lines = [
            f"Coverage of {self.objects} of {counted(self.objects_in_all, 'object')} in"
            f" {counted(self.pictures, 'picture')} by the"
            f" {self.kind} of {self.model} at {self.input_size}",
            f"  without a positive: {_share(self.uncovered, self.objects)}"
            + (f", of them {self.hidden} because others took their {self.kind}" if self.hidden else ""),
            "  by level: " + ", ".join(f"P{level} {count}" for level, count in self.by_level.items()),
        ]
        for which, buckets in self.by_size.items():
            words = (f"{name} {b['uncovered']}/{b['objects']}" for name, b in buckets.items())
            lines.append(f"  without a positive, by {which} size: {', '.join(words)}")
        if self.anchor_fit:
            fit = ", ".join(f"{name} {value:.3g}" for name, value in self.anchor_fit.items())
            lines.append(f"  IoU with the best anchor: {fit}")
        lines += [
            f"  most in a picture: {self.max_objects_in_picture}, max_detections: {self.max_detections}",
            f"  overlapping their class by over {self.max_iou:g}: {_share(self.suppressed, self.objects)}",
            *(f"  - {example}" for example in self.examples),
            *(f"  → {remedy}" for remedy in self.remedies or ["nothing to do"]),
        ]
        return "\n".join(lines)


def remedies(
    report: CoverageReport, finest_stride: int, short_side: int, long_side: int | None = None
) -> list[str]:
    """What to do, a sentence for each thing that does not fit, [] where all does.

    `finest_stride` in pixels is that of the finest level, `short_side` and `long_side` in pixels the model's now; a
    canvas has the first alone.

    >>> report = CoverageReport("fcos", "", "points", 9, 9, 1, crowded_pictures=2, max_detections=100)
    >>> report.max_objects_in_picture = 120
    >>> remedies(report, finest_stride=8, short_side=800)
    ['pictures with more than max_detections = 100 objects: 2; raise it to 120 or more']
    """
    found = []
    if report.kind == "cells":
        found += _of_cells(report)
    elif report.uncovered > report.hidden:
        found.append(_too_small(report, finest_stride, short_side, long_side))
    if report.hidden and report.kind != "cells":
        found.append(
            f"objects whose {report.kind} all go to others on the same spot: {report.hidden};"
            " a larger short_side tells them apart, and boxes drawn twice should be removed"
        )
    if report.anchor_fit and report.anchor_fit["share_below_half"] > MAX_SHARE_UNFIT:
        found.append(
            f"objects without an anchor of IoU {GOOD_IOU}: {report.anchor_fit['share_below_half']:.0%};"
            " change the base_scale or ratios of AnchorShapes, or short_side"
        )
    if report.crowded_pictures:
        found.append(
            f"pictures with more than max_detections = {report.max_detections} objects:"
            f" {report.crowded_pictures}; raise it to {report.max_objects_in_picture} or more"
        )
    if report.suppressed:
        found.append(
            f"objects that overlap one of their class by over max_iou = {report.max_iou:g}:"
            f" {report.suppressed}; suppression keeps one of two: remove boxes drawn twice or raise max_iou"
        )
    return found


def _of_cells(report: CoverageReport) -> list[str]:
    """Of a grid whose cells serve one object each."""
    found = []
    if report.uncovered > report.hidden:
        found.append(
            f"objects too narrow or low to be learnt: {report.uncovered - report.hidden}, below the criterion's"
            " min_share of the picture; cut the pictures into tiles (--tiles auto, docs/tiles.md)"
        )
    if report.hidden:
        found.append(
            f"objects that lose their cell to another: {report.hidden}, and are learnt as background; a cell serves"
            " one, so that a finer grid loses fewer: a larger --model.canvas or a finer level of the backbone"
            " (--model.levels 4), or under connected layers a larger --model.side"
        )
    return found


def _too_small(report: CoverageReport, finest_stride: int, short_side: int, long_side: int | None) -> str:
    median = report.uncovered_sides["median"]
    count = report.uncovered - report.hidden
    # A box of one and a half strides holds a location almost wherever it lies; an anchor of four strides fits
    # from about half its side.
    factor = (1.5 if report.kind == "points" else 2.0) * finest_stride / median
    start = f"objects that no {report.kind[:-1]} fits: {count}"
    if factor <= 1:
        return f"{start}, though they are not small; look at the criterion's ranges, radius or IoU limits"
    raised = f"short_side from {short_side} to about {_rounded(short_side * factor)}"
    if long_side is not None:  # whichever of the two ends first decides how large a picture becomes
        raised += f" and long_side from {long_side} to about {_rounded(long_side * factor)}"
    return (
        f"{start} (half of the uncovered are under {median:.0f} pixels at this size; the finest stride is"
        f" {finest_stride}); raise {raised},"
        " cut the pictures into tiles (--tiles auto, docs/tiles.md), or add a finer level"
    )


def _rounded(side: float) -> int:
    return max(32, int(-(-side // 32)) * 32)


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else str(count)
