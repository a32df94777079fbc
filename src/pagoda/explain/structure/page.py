"""A described detector as a web page of its own: diagram and tables, no scripts, nothing loaded."""

from collections.abc import Sequence
from html import escape

from pagoda.explain.structure.diagram import structure_svg
from pagoda.explain.structure.rows import StructureRows
from pagoda.explain.structure.table import (
    LEVEL_COLUMNS,
    headline,
    legend_of,
    level_cells,
    step_cells,
    step_columns,
)

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.scroll { overflow-x: auto; } svg { width: 100%; min-width: 720px; height: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { border-bottom: 1px solid GrayText; } .words { text-align: left; white-space: normal; }
tbody tr:hover { background: color-mix(in srgb, CanvasText 8%, Canvas); }
.part td { border-top: 1px solid GrayText; } .frozen { color: GrayText; }
.note { color: GrayText; font-size: 13px; }
"""


def structure_page(structure: StructureRows) -> str:
    """An HTML page of its own: headline, block diagram, table of steps, table of levels, legend."""
    rows, columns = structure.rows, step_columns(structure)
    starts = ["part" if i and row.part != rows[i - 1].part else "" for i, row in enumerate(rows)]
    steps = [
        _table_row(columns, step_cells(row, columns), f"{row.training} {start}".strip())
        for row, start in zip(rows, starts, strict=True)
    ]
    levels = [_table_row(LEVEL_COLUMNS, level_cells(level)) for level in structure.levels]
    total = ("total", "", "", f"{structure.locations:,}", "", f"{structure.predictions:,}", "")
    levels.append(_table_row(LEVEL_COLUMNS, total, "part"))
    title = escape(structure.model)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        "<body>"
        f"<h1>{title}</h1><p>{escape(headline(structure))}</p>"
        f'<div class="scroll">{structure_svg(structure)}</div>'
        f"<h2>Steps, in the order data flows</h2>{_table(columns, steps)}"
        f"<h2>Pyramid levels the heads read</h2>{_table(LEVEL_COLUMNS, levels)}"
        f'<p class="note">{escape(legend_of(structure))}</p></body></html>\n'
    )


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls sideways on narrow screens."""
    head = "".join(f"<th{_side(column)}>{escape(column)}</th>" for column in columns)
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _table_row(columns: Sequence[str], cells: Sequence[str], kind: str = "") -> str:
    """One row whose cells stand as their column does."""
    marked = [f"<td{_side(column)}>{escape(cell)}</td>" for column, cell in zip(columns, cells, strict=True)]
    return f'<tr class="{kind}">{"".join(marked)}</tr>' if kind else f"<tr>{''.join(marked)}</tr>"


def _side(column: str) -> str:
    """Names and sentences stand left, numbers right."""
    return ' class="words"' if column in ("", "step", "what it is", "training", "level") else ""
