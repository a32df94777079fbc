"""The table of a comparison's scores: each with a bar for its change and a whisker for the interval."""

import math
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from pagoda.evaluation.coco.result import ApDifference
from pagoda.visualization.page import notes

SHOWN = 16
"""rows that are seen at once"""


class Scale(NamedTuple):
    """Differences that a bar's 200 units stand for."""

    low: float
    """at its left end, 0 or less"""
    high: float
    """at its right end"""

    def place(self, value: float) -> float:
        """Units from the left end."""
        return 200 * (value - self.low) / (self.high - self.low)


def headline(numbers: Mapping[str, str], verdicts: Mapping[str, str]) -> str:
    """HTML of what is seen first: {what it is: number}, and {score: what may be said of it}."""
    cells = "".join(
        f'<div><span class="number">{number}</span><span>{words}</span></div>'
        for words, number in numbers.items()
    )
    said = "".join(f'<p class="lead">{escape(name)}: {escape(text)}.</p>' for name, text in verdicts.items())
    return f'<div class="headline">{cells}</div>\n{said}'


def parts_table(parts: Mapping[str, ApDifference], samples: str) -> str:
    """HTML of every score, the first rows open; `samples`: what the intervals draw, "pictures" or "videos"."""
    scale = scale_of([end for part in parts.values() for end in (part.low, part.high, part.difference)])
    rows = [_row(name, part, scale) for name, part in parts.items()]
    head = ("part", "first", "second", "change", "", "95 % interval", "what may be said")
    told = (
        f"Points. A bar is the change, the whisker its 95 % interval: where that holds 0, so many {samples} cannot"
        " tell which is better."
    )
    return f"{folded_table(head, rows)}{notes([told])}"


def scale_of(values: list[float]) -> Scale:
    """From the least to the greatest, and 0; what is not finite is left out."""
    known = [value for value in values if math.isfinite(value)]
    return Scale(min([0.0, *known]), max([0.01, *known]))


def folded_table(head: tuple[str, ...], rows: list[str]) -> str:
    """HTML of a table of which `SHOWN` rows are open, and the others on a click."""
    tables = _table(head, rows[:SHOWN])
    if len(rows) > SHOWN:
        tables += (
            f"<details><summary>{len(rows) - SHOWN} more</summary>{_table(head, rows[SHOWN:])}</details>"
        )
    return tables


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "\n".join(rows)
    table = f'<table class="parts"><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _row(name: str, part: ApDifference, scale: Scale) -> str:
    kind, words = "open", "cannot be told"
    if not math.isfinite(part.difference):
        words = "no objects"
    elif part.better == "second":
        kind, words = "better", "the second is better"
    elif part.better == "first":
        kind, words = "worse", "the first is better"
    is_known = math.isfinite(part.low)
    interval = f"{signed(part.low)} … {signed(part.high)}" if is_known else "–"
    return (
        f'<tr class="{kind}"><th scope="row">{escape(name)}</th><td>{points(part.other_ap)}</td>'
        f"<td>{points(part.ap)}</td><td>{signed(part.difference)}</td>"
        f"<td>{bar(part.difference, scale, (part.low, part.high))}</td><td>{interval}</td>"
        f'<td class="text">{words}</td></tr>'
    )


def bar(change: float, scale: Scale, interval: tuple[float, float] = (math.nan, math.nan)) -> str:
    """SVG of a bar from 0 to the change, and a line from one end of the interval to the other; "" without a change."""
    if not math.isfinite(change):
        return ""
    zero, end = scale.place(0.0), scale.place(change)
    whisker = ""
    if math.isfinite(interval[0]):
        low, high = map(scale.place, interval)
        whisker = f'<path class="ends" d="M{low:.1f} 7H{high:.1f}M{low:.1f} 4V10M{high:.1f} 4V10"/>'
    return (
        '<svg class="whisker" viewBox="-4 0 208 14" aria-hidden="true">'
        f'<path class="zero" d="M{zero:.1f} 0V14"/>'
        f'<rect x="{min(zero, end):.1f}" y="3" width="{abs(end - zero):.1f}" height="8"/>{whisker}</svg>'
    )


def points(value: float) -> str:
    """A fraction in hundredths.

    >>> points(0.4567), points(float("nan"))
    ('45.7', '–')
    """
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def signed(value: float) -> str:
    """A change in hundredths.

    >>> signed(0.012), signed(-0.0)
    ('+1.2', '+0.0')
    """
    return f"{round(100 * value, 1) + 0.0:+.1f}" if math.isfinite(value) else "–"
