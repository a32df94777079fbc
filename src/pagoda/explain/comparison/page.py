"""compare.html: what two models score beside one another, and the pictures in which they part; nothing called out."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from pagoda.evaluation.coco.comparison import Comparison
from pagoda.evaluation.coco.picture_pairs import FoundInPicture, PicturePair
from pagoda.evaluation.coco.result import ApDifference
from pagoda.files.text import json_text
from pagoda.plain import JsonObject, check_counts, checked
from pagoda.visualization.page import notes, section, shipped, write_program_page
from pagoda.visualization.thumbnails import ReadById, Wanted, embed_pictures

MAX_BYTES = 25_000_000
"""of the page"""
HEADS = ("AP", "segm/AP", "keypoints/AP")
PARTS = 16
"""parts that are seen at once"""
_OWN_BYTES = 100_000
"""what style, scripts and words take at most"""


class _Scale(NamedTuple):
    """Differences that a bar's 200 units stand for."""

    low: float
    high: float

    def place(self, value: float) -> float:
        return 200 * (value - self.low) / (self.high - self.low)


@checked
def write_comparison(
    path: str | Path,
    comparison: Comparison,
    read_picture: ReadById,
    files: Mapping[int | str, tuple[str, tuple[int, int]]],
    *,
    names: tuple[str, str],
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Args:
        comparison: with `pairs`, the pictures that can be looked at.
        read_picture: from an image id to (H, W, 3) RGB uint8; where it raises PictureError the page shows its words.
        files: of each picture among the pairs its name and (height, width).
        names: what the two are called.
        max_bytes: of the page; so that it fits pictures are made smaller, then left out, and the page says so.
    """
    check_counts(max_bytes=max_bytes)
    data = _data(comparison, files)
    wanted = [Wanted(image_id=pair.image_id, image_size=files[pair.image_id][1]) for pair in comparison.pairs]
    room = max(1, max_bytes - _OWN_BYTES - len(json_text(data)))
    embedded = embed_pictures(wanted, read_picture, max_bytes=room)
    for picture, thumbnail in zip(data["pictures"], embedded.thumbnails, strict=True):
        picture |= {"small": thumbnail.number, "words": thumbnail.words}
    data["sides"] = list(names)
    first, second = map(escape, names)
    body = (
        f"<main>\n<h1>{second} beside {first}</h1>\n{_headline(comparison)}\n"
        f"{section('Every part', _parts(comparison), name='parts')}\n"
        f"{shipped('explorer.html') if comparison.pairs else ''}\n"
        f"{section('How it was looked at', notes(_protocol(comparison, embedded.notes)), name='how')}\n</main>"
    )
    return write_program_page(
        path,
        title=f"{names[1]} beside {names[0]}",
        body=body,
        data=data,
        pictures=embedded.contents,
        script=shipped("page.js", "pagoda.explain.comparison") if comparison.pairs else "",
        style=shipped("page.css", "pagoda.explain.comparison"),
    )


def _data(comparison: Comparison, files: Mapping[int | str, tuple[str, tuple[int, int]]]) -> JsonObject:
    changes = {change.image_id: change for change in comparison.pictures}
    pictures, entries = [], []
    for number, pair in enumerate(comparison.pairs):
        file, size = files[pair.image_id]
        change = changes[pair.image_id]
        pictures.append({"id": str(pair.image_id), "file": file, "size": list(size)})
        entries.append(
            {
                "picture": number,
                "found": round(change.found, 2),
                "wrong": round(change.wrong, 2),
                "objects": [[*_rounded(box), label] for box, label in _objects(pair)],
                "sides": [_detections(pair.first), _detections(pair.second)],
            }
        )
    return {"pictures": pictures, "entries": entries}


def _objects(pair: PicturePair) -> list[tuple[tuple[float, ...], str]]:
    return list(zip(pair.object_boxes, pair.object_labels, strict=True))


def _detections(found: FoundInPicture) -> list[list[float | str]]:
    """[x1, y1, x2, y2, score, class, row of the object or -1]"""
    rows = zip(found.boxes, found.scores, found.labels, found.objects, strict=True)
    return [
        [*_rounded(box), round(score, 4), label, -1 if row is None else row]
        for box, score, label, row in rows
    ]


def _rounded(box: tuple[float, ...]) -> list[float]:
    return [round(value, 1) for value in box]


def _headline(comparison: Comparison) -> str:
    heads = [name for name in HEADS if name in comparison.parts]
    main = comparison.parts[heads[0]] if heads else None
    if main is None:
        return ""
    cells = "".join(
        f'<div><span class="number">{number}</span><span>{words}</span></div>'
        for number, words in (
            (_signed(main.difference), "points of AP"),
            (_points(main.other_ap), "AP of the first"),
            (_points(main.ap), "AP of the second"),
            (f"{len(comparison.pictures):,}", f"of {comparison.num_images:,} pictures are otherwise"),
        )
    )
    verdicts = "".join(
        f'<p class="lead">{escape(name)}: {escape(comparison.parts[name].verdict(comparison.num_images))}.</p>'
        for name in heads
    )
    return f'<div class="headline">{cells}</div>\n{verdicts}'


def _parts(comparison: Comparison) -> str:
    ends = [end for part in comparison.parts.values() for end in (part.low, part.high, part.difference)]
    known = [end for end in ends if math.isfinite(end)]
    scale = _Scale(min([0.0, *known]), max([0.01, *known]))
    rows = [_part(name, part, scale) for name, part in comparison.parts.items()]
    tables = _table(rows[:PARTS])
    if len(rows) > PARTS:
        tables += f"<details><summary>{len(rows) - PARTS} more</summary>{_table(rows[PARTS:])}</details>"
    told = (
        "Points of AP. A bar is the change, the whisker its 95 % interval: where that holds 0, so many pictures cannot"
        " tell which is better."
    )
    return f"{tables}{notes([told])}"


def _table(rows: list[str]) -> str:
    names = ("part", "first", "second", "change", "", "95 % interval", "what may be said")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "\n".join(rows)
    table = f'<table class="parts"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _part(name: str, part: ApDifference, scale: _Scale) -> str:
    kind, words = "open", "cannot be told"
    if not math.isfinite(part.difference) or not math.isfinite(part.low):
        words = "no objects"
    elif part.low > 0:
        kind, words = "better", "the second is better"
    elif part.high < 0:
        kind, words = "worse", "the first is better"
    interval = "–" if words == "no objects" else f"{_signed(part.low)} … {_signed(part.high)}"
    bar = "" if words == "no objects" else _whisker(part, scale)
    return (
        f'<tr class="{kind}"><th scope="row">{escape(name)}</th><td>{_points(part.other_ap)}</td>'
        f"<td>{_points(part.ap)}</td><td>{_signed(part.difference)}</td><td>{bar}</td><td>{interval}</td>"
        f'<td class="text">{words}</td></tr>'
    )


def _whisker(part: ApDifference, scale: _Scale) -> str:
    """A bar from 0 to the change; a line from one end of the interval to the other."""
    zero, low, high, change = map(scale.place, (0.0, part.low, part.high, part.difference))
    return (
        '<svg class="whisker" viewBox="-4 0 208 14" aria-hidden="true">'
        f'<path class="zero" d="M{zero:.1f} 0V14"/>'
        f'<rect x="{min(zero, change):.1f}" y="3" width="{abs(change - zero):.1f}" height="8"/>'
        f'<path class="ends" d="M{low:.1f} 7H{high:.1f}M{low:.1f} 4V10M{high:.1f} 4V10"/></svg>'
    )


def _protocol(comparison: Comparison, told: list[str]) -> list[str]:
    texts = [f"{comparison.protocol()}."]
    shown, every = len(comparison.pairs), len(comparison.pictures)
    if shown < every:
        texts.append(
            f"Of {every:,} pictures that are otherwise, {shown:,} can be looked at here: those that gained and"
            " lost most."
        )
    if shown:
        texts.append("What is drawn are boxes, each from the score of its class's best F1 on.")
        if comparison.num_runs != (1, 1):
            texts.append("Changes are means over the runs; drawn is the first run of each side.")
    return [*texts, *told]


def _points(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}" if math.isfinite(value) else "–"
