"""What a detector takes for what, and whether its scores mean what they say, as SVG with grey text."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pagoda.drawing.lettering import lettering
from pagoda.visualization.curves import TEXT, line_color, new_figure, style, to_svg

_MAX_LETTERS = 18
_MAX_CLASSES = 20
_NUMBERED = 12
"""rows up to which cells hold their numbers"""


class Confusions(Protocol):
    """What the picture needs of a `pagoda.evaluation.coco.confusion.ConfusionMatrix`."""

    names: tuple[str, ...]
    counts: np.ndarray

    def most_confused(self, limit: int) -> list[int]:
        """The classes to show where there are many."""
        ...


class Bins(Protocol):
    """What the curve needs of a `pagoda.evaluation.coco.calibration.Reliability`."""

    counts: np.ndarray
    scores: np.ndarray
    right: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error."""
        ...


class Calibrated(Protocol):
    """What the curve needs of a `pagoda.evaluation.coco.calibration.Calibration`."""

    overall: Bins


def confusion_picture(matrix: Confusions) -> bytes:
    """One SVG: rows are annotated classes, columns what was found, background last; the darker, the larger the share of
    its row. Of many classes those that are confused most are shown, and the title says so.
    """
    shown = matrix.most_confused(_MAX_CLASSES)
    places = [*shown, len(matrix.names)]
    labels = [lettering(matrix.names[place], max_letters=_MAX_LETTERS) for place in shown] + ["background"]
    counts = matrix.counts[np.ix_(places, places)]
    whole = matrix.counts[places].sum(1, keepdims=True)
    shares = counts / np.maximum(whole, 1)
    side = 1.6 + 0.45 * len(labels)
    figure, (axes,) = new_figure(1, size=(max(side + 0.8, 4.2), max(side, 3.1)))
    rest = "" if len(shown) == len(matrix.names) else f", {len(shown)} of {len(matrix.names)} classes"
    style(axes, f"Annotated (rows), found (columns){rest}", "")
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, alpha=0.75)
    for ticks, texts in ((axes.set_xticks, labels), (axes.set_yticks, labels)):
        for text in ticks(range(len(labels)), texts):
            text.label1.set_parse_math(False)
    axes.tick_params(axis="x", rotation=90 if max(map(len, labels)) > 5 else 0)
    if len(labels) <= _NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.6 else TEXT
            axes.text(column, row, str(count), ha="center", va="center", color=color, size=8)
    return to_svg(figure)


def reliability_curve(calibration: Calibrated) -> bytes:
    """One SVG: the share of detections that is right over their mean score, bin by bin, and how many there are."""
    bins = calibration.overall
    figure, (curve, amounts) = new_figure(2)
    style(curve, f"Right at IoU .5, by score (ECE {_number(bins.error)})", "mean score")
    curve.plot([0, 1], [0, 1], color=TEXT, linewidth=1, linestyle="--")
    filled = bins.counts > 0
    curve.plot(bins.scores[filled], bins.right[filled], color=line_color(0), marker="o", markersize=4)
    curve.set_xlim(0, 1)
    curve.set_ylim(0, 1.03)
    style(amounts, "Detections", "score")
    edges: Sequence[float] = np.linspace(0, 1, len(bins.counts) + 1).tolist()
    amounts.bar(edges[:-1], bins.counts, width=edges[1], align="edge", color=line_color(0), alpha=0.6)
    amounts.set_xlim(0, 1)
    return to_svg(figure)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
