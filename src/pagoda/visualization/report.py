"""The report of a run: one HTML page that carries everything inside, opens anywhere and never calls out."""

import base64
import html
import io
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pagoda.files.atomic import write_atomically
from pagoda.plain import JsonObject, flat
from pagoda.visualization.confusion import confusion_picture, reliability_curve
from pagoda.visualization.curves import ScoreCurves, has_curves, learning_curves, pr_curves
from pagoda.visualization.page import shipped

HEADLINE = {
    "AP": "AP",
    "AP50": "AP at IoU .50",
    "AP75": "AP at IoU .75",
    "APs": "AP of small objects",
    "APm": "of medium objects",
    "APl": "of large objects",
    "segm/AP": "AP of masks",
    "keypoints/AP": "AP of keypoints",
}
TASK_TITLES = {"segm": "masks", "keypoints": "keypoints"}


def write_report(
    path: str | Path,
    *,
    title: str,
    settings: Mapping[str, object],
    records: Sequence[JsonObject],
    before: Mapping[str, float | None] | None,
    result: ScoreCurves | None,
    pictures: Sequence[tuple[str, np.ndarray]],
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    `settings` may be nested; `records` are the rows of metrics.jsonl (see `learning_curves`); `before` holds
    the metrics before training under the same keys as `result.metrics`; `pictures` are (caption, (H, W, 3)
    RGB uint8), shown in their order, two in a row on a wide screen: ground truth left, detections right.
    """
    sections = [
        _headline(result),
        _section("Training", _curve(learning_curves(records), "learning curves"))
        if has_curves(records)
        else "",
        *_scores(before, result),
        _section("Pictures", _figures(pictures)) if pictures else "",
        _section("Settings", _two_columns(flat(settings))) if settings else "",
        _section("Versions and machine", _two_columns(machine_facts())),
    ]
    style = shipped("paper.css") + shipped("report.css")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{html.escape(title)}</h1>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    path = Path(path)
    content = page.encode(errors="replace")  # names of files may hold bytes that are no text
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return path


def machine_facts() -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor or accelerator they ran on.

    >>> machine_facts()["python"] == platform.python_version()
    True
    """
    facts = {}
    for package in ("pagoda-vision", "torch", "torchvision", "hotcoco", "numpy"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed as a package"
    facts["python"] = platform.python_version()
    facts["system"] = (
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    )
    for index in range(torch.cuda.device_count()):
        facts[f"accelerator {index}"] = torch.cuda.get_device_name(index)
    return facts


def _headline(result: ScoreCurves | None) -> str:
    if result is None:
        return ""
    cells = "".join(
        f'<div><span class="number">{_number(result.metrics[key])}</span>'
        f"<span>{html.escape(name)}</span></div>"
        for key, name in HEADLINE.items()
        if key in result.metrics
    )
    return f'<div class="headline">{cells}</div>\n{_protocol(result)}'


def _protocol(result: ScoreCurves) -> str:
    warnings = [f"warning: {each}" for each in getattr(result, "warnings", ())]
    return "".join(f'<p class="note">{html.escape(text)}</p>' for text in (result.protocol, *warnings))


def _scores(before: Mapping[str, float | None] | None, result: ScoreCurves | None) -> list[str]:
    """Average precision and classes of the boxes, then the same of masks and of keypoints where there are any."""
    if not before and result is None:
        return []
    sections = [
        _section("Average precision", _metrics_table(_of_task(before, ""), result)),
        _per_class(result),
    ]
    for task, other in ({} if result is None else result.others).items():
        title = TASK_TITLES.get(task, task)
        table = _metrics_table(_of_task(before, task), other)
        note = _protocol(other)
        sections += [
            _section(f"Average precision of {title}", table + note),
            _per_class(other, f"Classes by {title}", "OKS" if task == "keypoints" else "IoU"),
        ]
    return sections


def _of_task(metrics: Mapping[str, float | None] | None, task: str) -> dict[str, float | None]:
    """The numbers of one task under their plain names: {"segm/AP": 1} is {"AP": 1} of segm."""
    parts = [(*name.rpartition("/"), value) for name, value in (metrics or {}).items()]
    return {name: value for group, _, name, value in parts if group == task}


def _metrics_table(before: Mapping[str, float | None] | None, result: ScoreCurves | None) -> str:
    after = {} if result is None else _of_task(result.metrics, "")
    keys = list(dict.fromkeys([*after, *(before or {})]))
    rows: list[list[str | float]] = []
    for title, values in (("before", before), ("after", after)):
        if values:
            rows.append([title, *(_or_nan(values.get(key)) for key in keys)])
    if before and after:
        changes = [_or_nan(after.get(key)) - _or_nan(before.get(key)) for key in keys]
        rows.append(["change", *("–" if math.isnan(change) else f"{change:+.3f}" for change in changes)])
    return _table(["", *keys], rows)


def _or_nan(value: float | None) -> float:
    """JSON has no nan: what was undefined comes back as None."""
    return math.nan if value is None else float(value)


def _per_class(result: ScoreCurves | None, title: str = "Classes", measure: str = "IoU") -> str:
    if result is None or not result.per_class:
        return ""
    measured = any(np.isfinite(curve).any() for curve in result.precision.values())
    curve = _curve(pr_curves(result, measure=measure), "precision over recall") if measured else ""
    header = ["class", *next(iter(result.per_class.values()))]
    rows: list[list[str | float]] = [[name, *row.values()] for name, row in result.per_class.items()]
    return _section(title, curve + _table(header, rows)) + _operating(result, title)


def _operating(result: ScoreCurves, title: str) -> str:
    """Where to cut scores, what is taken for what, and whether scores mean what they say."""
    points = getattr(result, "operating", None)
    if points is None:
        return ""
    pictures = [_curve(reliability_curve(points.calibration), "reliability")]
    if points.confusion is not None:
        pictures.insert(0, _curve(confusion_picture(points.confusion), "confusion matrix"))
    texts = (points.table(), points.calibration.table())
    return "\n" + _section(
        f"{title}: scores to cut at",
        "".join(pictures)
        + "".join(f'<div class="scroll"><pre>{html.escape(text)}</pre></div>' for text in texts),
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{content}\n</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "\n".join(
        "<tr>"
        + f"<th>{html.escape(str(row[0]))}</th>"
        + "".join(f"<td>{_number(v)}</td>" for v in row[1:])
        + "</tr>"
        for row in rows
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _two_columns(facts: Mapping[str, object]) -> str:
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f'<div class="scroll"><table class="facts"><tbody>\n{rows}\n</tbody></table></div>'


def _number(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return html.escape(str(value))


def _curve(svg: bytes, what: str) -> str:
    return f'<img class="curve" alt="{html.escape(what)}" src="{_data_uri(svg, "image/svg+xml")}">'


def _figures(pictures: Sequence[tuple[str, np.ndarray]]) -> str:
    figures = "\n".join(
        f'<figure><img alt="{html.escape(caption)}" src="{_picture_uri(picture)}" loading="lazy">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in pictures
    )
    return f'<div class="pictures">\n{figures}\n</div>'


def _picture_uri(picture: np.ndarray) -> str:
    """Lossless where it is the smaller file (flat drawings), JPEG for photographs, of which the most thorough PNG takes
    close to a second, and is hardly smaller than the quickest."""
    image = Image.fromarray(picture)
    encoded = {}
    for kind, options in {"png": {"compress_level": 1}, "jpeg": {"quality": 88}}.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        encoded[kind] = buffer.getvalue()
    kind = min(encoded, key=lambda name: len(encoded[name]))
    return _data_uri(encoded[kind], f"image/{kind}")


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
