"""Curves of a training and of precision over recall, as SVG with grey text, for light and dark pages."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pagoda.drawing.lettering import lettering
from pagoda.plain import JsonObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#7a7a7a"
_LINES = ("#2f7ed8", "#e07b39", "#3a9d5d", "#b04fc4", "#c9a227", "#d6455d", "#4bb3b8", "#8a7f72")
# What a "step" record carries besides its loss terms.
_NO_LOSS = {
    "step",
    "epoch",
    "lr",
    "loss",
    "kind",
    "time",
    "seconds",
    "gradient_norm",
    "grad_norm",
    "max_memory",
}
_MAX_POINTS = 400
_MAX_LETTERS = 24  # of a class in the legend, which leaves the curves some room
_SHOWN_SCORES = ("AP", "AP50", "AP75", "segm/AP", "keypoints/AP")


class ScoreCurves(Protocol):
    """What `pr_curves` and the report need of an evaluation's result; see `pagoda.evaluation.coco.result`."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    recall: np.ndarray
    precision: dict[str, np.ndarray]
    protocol: str
    others: Mapping[str, "ScoreCurves"]


def learning_curves(records: Sequence[JsonObject]) -> bytes:
    """One SVG: loss and its terms by step, learning rate by step, AP by epoch; no panel without data.

    `records` are rows of metrics.jsonl: kind "step" with step, loss, lr and the loss terms; kind "val" with
    epoch and the metrics, flat or under "metrics". Long runs are averaged to a few hundred points. Raises
    ValueError where there is nothing to draw.
    """
    panels = _panels(records)
    if not panels:
        raise ValueError(
            'nothing to draw: expected records of kind "step" with loss or lr, or of kind "val" with AP,'
            f" got {len(records)} records of kinds {sorted({str(record.get('kind')) for record in records})}"
        )
    figure, grid = new_figure(len(panels))
    for axes, draw in zip(grid, panels, strict=True):
        draw(axes)
    return to_svg(figure)


def has_curves(records: Sequence[JsonObject]) -> bool:
    """Whether `learning_curves` would find anything to draw.

    >>> has_curves([{"kind": "step", "step": 1, "loss": 2.0}]), has_curves([{"kind": "note"}])
    (True, False)
    """
    return bool(_panels(records))


def pr_curves(result: ScoreCurves, *, max_classes: int = 8, measure: str = "IoU") -> bytes:
    """One SVG: precision over recall at IoU (or what `measure` says) .50 and .75, the mean in bold.

    With more than `max_classes` classes those with the most objects are drawn and the title says so; the mean
    is always over all classes that have objects. Raises ValueError where no class has an object.
    """
    measured = [name for name, curve in result.precision.items() if np.isfinite(curve).any()]
    if not measured:
        raise ValueError("nothing to draw: no class has an object in the ground truth")
    drawn = sorted(measured, key=lambda name: -result.per_class[name]["objects"])[:max_classes]
    rest = "" if len(drawn) == len(measured) else f", {len(drawn)} of {len(measured)} classes"
    figure, grid = new_figure(2)
    for position, (axes, threshold) in enumerate(zip(grid, (".50", ".75"), strict=True)):
        style(axes, f"Precision over recall at {measure} {threshold}{rest}", "recall")
        for index, name in enumerate(drawn):
            axes.plot(
                result.recall,
                result.precision[name][position],
                color=line_color(index),
                linewidth=1,
                label=_label(name),
            )
        mean = np.mean([result.precision[name][position] for name in measured], 0)
        axes.plot(result.recall, mean, color=TEXT, linewidth=2.4, label="mean")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
    _legend(grid[-1])
    return to_svg(figure)


def _panels(records: Sequence[JsonObject]) -> "list[Callable[[Axes], None]]":
    steps = [record for record in records if record.get("kind") == "step"]
    epochs = [record for record in records if record.get("kind") == "val"]
    panels: list[Callable[[Axes], None]] = []
    if any(_is_number(record.get("loss")) for record in steps):
        panels.append(lambda axes: _draw_losses(axes, steps))
    if any(_is_number(record.get("lr")) for record in steps):
        panels.append(lambda axes: _draw_rate(axes, steps))
    if any(_is_number(_validation_metrics(record).get("AP")) for record in epochs):
        panels.append(lambda axes: _draw_scores(axes, epochs))
    return panels


def _validation_metrics(record: JsonObject) -> JsonObject:
    """The metrics of a "val" record, whether nested under "metrics" or flat."""
    return record.get("metrics", record)


def loss_terms(steps: Sequence[JsonObject]) -> list[str]:
    """The names of the loss terms, in the order of their first appearance.

    >>> loss_terms([{"step": 1, "loss": 3.0, "loss_box": 1.0}, {"step": 2, "loss_class": 2.0}])
    ['loss_box', 'loss_class']
    """
    names: dict[str, None] = {}
    for record in steps:
        names.update({key: None for key, value in record.items() if _is_number(value)})
    prefixed = [name for name in names if name.startswith(("loss_", "loss/"))]
    return prefixed or [name for name in names if name not in _NO_LOSS and "per_second" not in name]


def _draw_losses(axes: "Axes", steps: Sequence[JsonObject]) -> None:
    style(axes, "Loss", "step")
    for index, name in enumerate(loss_terms(steps)):
        axes.plot(*_series(steps, name), color=line_color(index), linewidth=1, label=name)
    axes.plot(*_series(steps, "loss"), color=TEXT, linewidth=2, label="loss")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _draw_rate(axes: "Axes", steps: Sequence[JsonObject]) -> None:
    style(axes, "Learning rate", "step")
    axes.plot(*_series(steps, "lr"), color=line_color(0), linewidth=1.6)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set(color=TEXT, size=8)
    axes.set_ylim(bottom=0)


def _draw_scores(axes: "Axes", epochs: Sequence[JsonObject]) -> None:
    from matplotlib.ticker import MaxNLocator

    style(axes, "AP on the validation images", "epoch")
    for index, name in enumerate(_SHOWN_SCORES):
        points = [(record["epoch"], _validation_metrics(record).get(name)) for record in epochs]
        points = [(epoch, value) for epoch, value in points if _is_number(value)]
        if points:
            axes.plot(
                *zip(*points, strict=True), color=line_color(index), marker="o", markersize=3, label=name
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    _legend(axes)


def _series(steps: Sequence[JsonObject], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, averaged in equal stretches when there are more points than a plot can show."""
    pairs = [(record["step"], record[name]) for record in steps if _is_number(record.get(name))]
    x, y = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    if len(x) <= _MAX_POINTS:
        return x, y
    pieces = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return np.array([x[piece].mean() for piece in pieces]), np.array([y[piece].mean() for piece in pieces])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def line_color(index: int) -> str:
    """Of the line with this number."""
    return _LINES[index % len(_LINES)]


def new_figure(num_panels: int, size: tuple[float, float] | None = None) -> "tuple[Figure, list[Axes]]":
    """A figure of panels beside each other; `size` (width, height) in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (4.2 * num_panels, 3.1), layout="constrained")
    return figure, list(figure.subplots(1, num_panels, squeeze=False)[0])


def style(axes: "Axes", title: str, x_label: str) -> None:
    """Grey on nothing, so that light and dark pages can show it."""
    axes.set_title(title, color=TEXT, size=10, loc="left")
    axes.set_xlabel(x_label, color=TEXT, size=9)
    axes.tick_params(colors=TEXT, labelsize=8, length=3)
    axes.set_facecolor("none")
    axes.grid(color=TEXT, alpha=0.2, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TEXT)


def _label(name: str) -> str:
    """matplotlib takes what begins with _ for a line that wants no name."""
    text = lettering(name, max_letters=_MAX_LETTERS)
    return f" {text}" if text.startswith("_") else text


def _legend(axes: "Axes") -> None:
    for text in axes.legend(frameon=False, fontsize=8, labelcolor=TEXT).get_texts():
        text.set_parse_math(False)  # a name with two $ is no formula


def to_svg(figure: "Figure") -> bytes:
    """The same figure always gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    # A fixed salt and no date: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "pagoda"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the doctor tells of them
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
