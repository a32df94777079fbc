"""The block diagram: the backbone as a tower of shrinking storeys, the pyramid beside it, then the heads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pagoda.explain.structure.rows import Row, StructureRows
from pagoda.explain.structure.words import count_words

STOREY, GAP, MARGIN = 46, 14, 30  # heights in px; the gap holds the eave
WIDTH, BACKBONE_X, NECK_X, BUS_X, HEAD_X, HEAD_WIDTH = 1060, 190, 515, 660, 700, 330
HEAD_HEIGHT = 92
MAX_STOREYS = 9

LEGEND = (
    ("trained", "trained"),
    ("partly", "partly frozen"),
    ("frozen", "frozen"),
    ("plain", "no parameters"),
)

STYLE = """
.pagoda { --ink: #1d2733; --soft: #5b6875; --line: #8a97a5; --trained: #cfe3f7; --partly: #e9dff5;
  --frozen: #dde1e6; --plain: #fbfaf6; font: 12px system-ui, sans-serif; }
.pagoda text { fill: var(--ink); text-anchor: middle; }
.pagoda .soft { fill: var(--soft); font-size: 10.5px; }
.pagoda .strong { font-weight: 600; }
.pagoda .box { stroke: var(--line); }
.pagoda .trained { fill: var(--trained); } .pagoda .partly { fill: var(--partly); }
.pagoda .frozen { fill: var(--frozen); stroke-dasharray: 5 3; } .pagoda .plain { fill: var(--plain); }
.pagoda .flow { stroke: var(--line); stroke-width: 1.5; fill: none; }
.pagoda .eave { fill: var(--line); }
@media (prefers-color-scheme: dark) { .pagoda { --ink: #e8edf2; --soft: #a3b0bd; --line: #66737f;
  --trained: #1f4368; --partly: #47346a; --frozen: #3a4048; --plain: #23282e; } }
"""


@dataclass(frozen=True)
class _Box:
    """A drawn step."""

    x: float
    """of its middle; these four in units of the drawing, whose y grows downwards"""
    y: float
    """of its upper side"""
    width: float
    """the smaller the coarser the map"""
    height: float
    """of a storey, or of a head"""
    row: Row
    """what it shows"""
    title: str
    """upper line: name and shape"""
    note: str
    """lower line, "" for none"""

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    def draw(self) -> str:
        kind = self.row.training or "plain"
        left, top = self.left, self.y
        return (
            f'<g><title>{escape(self.row.words)}</title><rect class="box {kind}" x="{left:g}" y="{top:g}"'
            f' width="{self.width:g}" height="{self.height:g}" rx="3"/>'
            f"{_text(self.x, top + 19, self.title, 'strong')}{_text(self.x, top + 35, self.note, 'soft')}</g>"
        )


def structure_svg(structure: StructureRows) -> str:
    """The block diagram as one SVG element that stands alone, for light and dark pages."""
    storeys = [row for row in structure.rows if row.kind == "backbone" and row.shape]
    if len(storeys) > MAX_STOREYS:
        storeys = [row for row in storeys if row.label]
    floors = _floors_of(storeys, structure)
    heads = [row for row in structure.rows if row.kind == "head" and row.name]
    base = MARGIN + max(max(floors.values()) * (STOREY + GAP), len(heads) * (HEAD_HEIGHT + GAP))
    backbone = [_storey_box(row, base - floor * (STOREY + GAP)) for floor, row in enumerate(storeys, 1)]
    neck = [
        _level_box(row, base - floors[level] * (STOREY + GAP))
        for row in structure.rows
        if row.kind == "neck"
        for level in _levels_of(row)
    ]
    head_boxes = _place_heads(heads, structure, base)
    parts = [
        _picture(structure, base),
        *(_eave(box) for box in backbone),
        *_flows(backbone, neck, head_boxes),
    ]
    parts += [box.draw() for box in backbone + neck] + [_draw_head(box, structure) for box in head_boxes]
    height = base + 100
    return (
        f'<svg class="pagoda" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="block diagram of {escape(structure.model)}"><style>{STYLE}</style>{"".join(parts)}'
        f"{_legend(base + 80)}</svg>"
    )


def _floors_of(storeys: Sequence[Row], structure: StructureRows) -> dict[int, int]:
    """{pyramid level: floor it stands on}, 1 at the bottom; extra levels go above the tower."""
    floors = {level: floor for floor, row in enumerate(storeys, 1) for level in _levels_of(row)}
    top = max(len(storeys), 1)
    for level in sorted({n for row in structure.rows for n in _levels_of(row)} - set(floors)):
        top += 1
        floors[level] = top
    return floors or {0: 1}


def _levels_of(row: Row) -> list[int]:
    """C3 → [3]."""
    return [int(label[1:]) for label in row.label.split()]


def _storey_box(row: Row, y: float) -> _Box:
    """A step of the backbone, the narrower the coarser its map."""
    level = math.log2(row.stride or 1)
    title = f"{row.label or row.name.rsplit('.', 1)[-1]}   {'×'.join(map(str, row.shape or ()))}"
    return _Box(BACKBONE_X, y, 340 - 24 * level, STOREY, row, title, _cut(row.words))


def _level_box(row: Row, y: float) -> _Box:
    """A level of the pyramid beside the tower."""
    level = math.log2(row.stride or 1)
    title = f"{row.label}   {'×'.join(map(str, row.shape or ()))}"
    note = f"stride {row.stride}, sees {row.receptive_field} px"
    return _Box(NECK_X, y, 230 - 10 * level, STOREY, row, title, note)


def _place_heads(heads: Sequence[Row], structure: StructureRows, base: float) -> list[_Box]:
    """Boxes stacked at half height of the pyramid."""
    total = len(heads) * (HEAD_HEIGHT + GAP) - GAP
    top = (MARGIN + base - total) / 2
    x = HEAD_X + HEAD_WIDTH / 2
    return [
        _Box(x, top + index * (HEAD_HEIGHT + GAP), HEAD_WIDTH, HEAD_HEIGHT, row, row.name, "")
        for index, row in enumerate(heads)
    ]


def _draw_head(box: _Box, structure: StructureRows) -> str:
    """A head's box: its layers, what it says per location, what it costs."""
    rows = [row for row in structure.rows if row.part == box.row.part]
    outputs = [row.shape[0] for row in rows if row.shape]
    lines = [*_wrap(box.row.words, 58)[:2]]
    if box.row.regions:
        lines.append(f"{math.prod(_outputs_of(rows[0]))} numbers for each of {box.row.regions:,} regions")
    else:
        lines.append(_per_location(outputs) if outputs else "")
    lines.append(f"{box.row.parameters:,} parameters, {count_words(sum(row.macs for row in rows))} MACs")
    texts = "".join(_text(box.x, box.y + 38 + 17 * index, line, "soft") for index, line in enumerate(lines))
    return box.draw() + texts


def _per_location(outputs: list[int]) -> str:
    """
    >>> _per_location([36, 36]), _per_location([16, 24, 16])
    ('36 numbers per location of 2 levels', '16 to 24 numbers per location of 3 levels')
    """
    least, most = min(outputs), max(outputs)
    told = f"{least}" if least == most else f"{least} to {most}"
    return f"{told} numbers per location of {len(outputs)} levels"


def _outputs_of(row: Row) -> tuple[int, ...]:
    """The shape of a region head's output."""
    return row.shape or (0,)


def _flows(backbone: Sequence[_Box], neck: Sequence[_Box], heads: Sequence[_Box]) -> list[str]:
    """Lines from storeys to the levels beside them, along the neck, and to the heads."""
    drawn = []
    sides = {level: box for box in backbone for level in _levels_of(box.row)}
    for box in neck:
        for level in _levels_of(box.row):
            if level in sides:
                source = sides[level]
                drawn.append(_arrow(source.right, source.middle, box.left, box.middle))
    if neck:
        highest, lowest = min(box.y for box in neck), max(box.middle for box in neck)
        drawn.append(f'<path class="flow" stroke-dasharray="2 3" d="M{NECK_X} {highest:g}V{lowest:g}"/>')
    sources = list(neck) or [box for box in backbone if box.row.label]
    if sources and heads:
        for box in sources:
            drawn.append(f'<path class="flow" d="M{box.right:g} {box.middle:g}H{BUS_X}"/>')
        ends = [box.middle for box in (*sources, *heads)]
        drawn.append(f'<path class="flow" d="M{BUS_X} {min(ends):g}V{max(ends):g}"/>')
        drawn += [_arrow(BUS_X, box.middle, HEAD_X, box.middle) for box in heads]
    return drawn


def _picture(structure: StructureRows, base: float) -> str:
    """The ground the tower stands on."""
    height, width = structure.padded_size
    return (
        f'<rect class="box plain" x="{BACKBONE_X - 180}" y="{base}" width="360" height="30" rx="3"/>'
        + _text(BACKBONE_X, base + 19, f"picture   3×{height}×{width}", "strong")
    )


def _eave(box: _Box) -> str:
    """The roof under the next storey."""
    top = box.y - GAP + 6
    low, high = f"{box.left - 12:g},{box.y:g} {box.left + 14:g},{top:g}", f"{box.right - 14:g},{top:g}"
    points = f"{low} {high} {box.right + 12:g},{box.y:g}"
    return f'<polygon class="eave" points="{points}"/>'


def _legend(y: float) -> str:
    """What the colours mean."""
    return "".join(
        f'<rect class="box {kind}" x="{20 + 130 * i}" y="{y - 11}" width="16" height="14" rx="2"/>'
        f'<text class="soft" style="text-anchor: start" x="{42 + 130 * i}" y="{y}">{words}</text>'
        for i, (kind, words) in enumerate(LEGEND)
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line with a tip at its second end."""
    tip = f"M{x2 - 7:g} {y2 - 4:g}L{x2:g} {y2:g}L{x2 - 7:g} {y2 + 4:g}"
    return f'<path class="flow" d="M{x1:g} {y1:g}L{x2:g} {y2:g}{tip}"/>'


def _text(x: float, y: float, words: str, kind: str) -> str:
    """One centred line."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" xml:space="preserve">{escape(words)}</text>'


def _cut(words: str, length: int = 40) -> str:
    """The words, or their beginning and an ellipsis."""
    return words if len(words) <= length else words[: length - 1].rstrip(" ,") + "…"


def _wrap(words: str, length: int) -> list[str]:
    """Lines of at most `length` letters where words allow it."""
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > length:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
