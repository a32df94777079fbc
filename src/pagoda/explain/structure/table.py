"""A described detector as tables for the terminal."""

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pagoda.explain.structure.rows import LevelRow, Row, StructureRows
from pagoda.explain.structure.words import count_words

NUMBERS = ("output", "stride", "sees px", "frames", "parameters", "MACs")
LEVEL_COLUMNS = ("level", "stride", "cells", "locations", "per location", "predictions", "objects, px")


def structure_tables(structure: StructureRows) -> Group:
    """What a terminal shows: headline, table of steps, table of levels, legend."""
    steps = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    columns = step_columns(structure)
    for column in columns:
        is_words = column == "what it is"
        steps.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=not is_words)
    for index, row in enumerate(structure.rows):
        is_new_part = index == 0 or row.part != structure.rows[index - 1].part
        if is_new_part:
            steps.add_row()
        steps.add_row(*step_cells(row, columns), style=None if row.training != "frozen" else "cyan")
    steps.add_row()
    total = {"step": "total", "parameters": f"{structure.parameters:,}", "MACs": count_words(structure.macs)}
    steps.add_row(*(total.get(column, "") for column in columns))
    levels = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    for column in LEVEL_COLUMNS:
        levels.add_column(column, justify="right", no_wrap=True)
    for level in structure.levels:
        levels.add_row(*level_cells(level))
    levels.add_row("total", "", "", f"{structure.locations:,}", "", f"{structure.predictions:,}", "")
    title, legend = Text(headline(structure), style="bold"), Text(legend_of(structure), style="dim")
    return Group(title, steps, Text(), levels, Text(), legend)


LEGEND = (
    "sees px: receptive field, along the longest chain of convolutions and poolings; for P levels that of the"
    " lateral path. MACs: multiply-accumulates of convolutions and matrix products for one picture or clip. objects:"
    " √area of the anchors; without anchors, the distance from a location to the farthest side of its object."
)
OF_CLIPS = (
    " outputs: channels × frames × height × width. frames: how many of a clip without ends a cell sees; 1: each frame"
    " by itself."
)


def legend_of(structure: StructureRows) -> str:
    """A sentence on each column that needs one."""
    return LEGEND + (OF_CLIPS if structure.num_frames else "")


def step_columns(structure: StructureRows) -> tuple[str, ...]:
    """The heads of the table of steps; those of clips have one more."""
    frames = ("frames",) if structure.num_frames else ()
    return (
        "",
        "step",
        "what it is",
        "output",
        "stride",
        "sees px",
        *frames,
        "parameters",
        "MACs",
        "training",
    )


def headline(structure: StructureRows) -> str:
    """Name, classes, picture and totals in one line."""
    (height, width), (padded_height, padded_width) = structure.size, structure.padded_size
    padding = "" if structure.size == structure.padded_size else f", padded to {padded_height}×{padded_width}"
    frozen = structure.parameters - structure.trainable
    what = f"clip of {structure.num_frames} frames" if structure.num_frames else "picture"
    return (
        f"{structure.model}, {structure.num_classes} class{'es' * (structure.num_classes != 1)},"
        f" {what} {height}×{width}{padding}:"
        f" {structure.parameters:,} parameters ({frozen:,} frozen), {count_words(structure.macs)} MACs,"
        f" {structure.locations:,} locations"
    )


def step_cells(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """One cell per entry of `step_columns`."""
    cells = {
        "": row.label,
        "step": _short_name(row),
        "what it is": f"on {row.regions:,} regions: {row.words}" if row.regions else row.words,
        "output": "×".join(map(str, row.shape)) if row.shape else "",
        "stride": str(row.stride or ""),
        "sees px": str(row.receptive_field or ""),
        "frames": str(row.receptive_frames or ""),
        "parameters": f"{row.parameters:,}" if row.parameters else "",
        "MACs": count_words(row.macs) if row.macs else "",
        "training": row.training,
    }
    return tuple(cells[column] for column in columns)


def _short_name(row: Row) -> str:
    """The path below the part: backbone.layer1 → layer1; heads keep their own."""
    return row.name.removeprefix(f"{row.part}.") if row.name else ""


def level_cells(level: LevelRow) -> tuple[str, ...]:
    """One cell per entry of LEVEL_COLUMNS.

    >>> anchors = {"predictions_per_location": 3, "object_sizes": (32, 64)}
    >>> level_cells(LevelRow(level=3, stride=8, size=(8, 12), locations=96, **anchors))
    ('P3', '8', '8×12', '96', '3', '288', '32 – 64')
    """
    each = level.predictions_per_location
    return (
        f"P{level.level}",
        str(level.stride),
        "×".join(map(str, level.size)),
        f"{level.locations:,}",
        str(each),
        f"{level.locations * each:,}",
        _range_words(level.object_sizes),
    )


def _range_words(sizes: tuple[float, float] | None) -> str:
    """(64, 128) → "64 – 128"; open ends as "up to" and "above"."""
    if sizes is None:
        return ""
    low, high = sizes
    if math.isinf(high):
        return "all" if low <= 0 else f"above {low:.0f}"
    return f"up to {high:.0f}" if low <= 0 else f"{low:.0f} – {high:.0f}"
