"""A described detector as tables for the terminal."""

import math

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pagoda.explain.structure.rows import LevelRow, Row, Structure
from pagoda.explain.structure.words import count_words

STEP_COLUMNS = ("", "step", "what it is", "output", "stride", "sees px", "parameters", "MACs", "")
LEVEL_COLUMNS = ("level", "stride", "cells", "locations", "per location", "predictions", "objects, px")


def structure_tables(structure: Structure) -> Group:
    """Headline, steps, levels and legend."""
    steps = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for column in STEP_COLUMNS:
        is_number = column in ("output", "stride", "sees px", "parameters", "MACs")
        is_words = column == "what it is"
        steps.add_column(column, justify="right" if is_number else "left", no_wrap=not is_words)
    for index, row in enumerate(structure.rows):
        is_new_part = index == 0 or row.part != structure.rows[index - 1].part
        if is_new_part:
            steps.add_row()
        steps.add_row(*step_cells(row), style=None if row.training != "frozen" else "cyan")
    steps.add_row()
    steps.add_row("", "total", "", "", "", "", f"{structure.parameters:,}", count_words(structure.macs), "")
    levels = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    for column in LEVEL_COLUMNS:
        levels.add_column(column, justify="right", no_wrap=True)
    for level in structure.levels:
        levels.add_row(*level_cells(level))
    levels.add_row("total", "", "", f"{structure.locations:,}", "", f"{structure.predictions:,}", "")
    title, legend = Text(headline(structure), style="bold"), Text(LEGEND, style="dim")
    return Group(title, steps, Text(), levels, Text(), legend)


LEGEND = (
    "sees px: receptive field, along the longest chain of convolutions and poolings; for P levels that of the"
    " lateral path. MACs: multiply-accumulates of convolutions and matrix products for one picture. objects:"
    " √area of the anchors; without anchors, the distance from a location to the farthest side of its object."
)


def headline(structure: Structure) -> str:
    """Name, classes, picture and totals in one line."""
    (height, width), (padded_height, padded_width) = structure.size, structure.padded_size
    padding = "" if structure.size == structure.padded_size else f", padded to {padded_height}×{padded_width}"
    frozen = structure.parameters - structure.trainable
    return (
        f"{structure.model}, {structure.num_classes} classes, picture {height}×{width}{padding}:"
        f" {structure.parameters:,} parameters ({frozen:,} frozen), {count_words(structure.macs)} MACs,"
        f" {structure.locations:,} locations"
    )


def step_cells(row: Row) -> tuple[str, ...]:
    """One cell per entry of STEP_COLUMNS."""
    return (
        row.label,
        short_name(row),
        row.words,
        "×".join(map(str, row.shape)) if row.shape else "",
        str(row.stride or ""),
        str(row.receptive_field or ""),
        f"{row.parameters:,}" if row.parameters else "",
        count_words(row.macs) if row.macs else "",
        row.training,
    )


def short_name(row: Row) -> str:
    """The path below the part: backbone.layer1 → layer1; heads keep their own."""
    return row.name.removeprefix(f"{row.part}.") if row.name else ""


def level_cells(level: LevelRow) -> tuple[str, ...]:
    """One cell per entry of LEVEL_COLUMNS."""
    each = level.predictions_per_location
    return (
        f"P{level.level}",
        str(level.stride),
        "×".join(map(str, level.size)),
        f"{level.locations:,}",
        str(each),
        f"{level.locations * each:,}",
        range_words(level.object_sizes),
    )


def range_words(sizes: tuple[float, float] | None) -> str:
    """(64, 128) → "64 – 128"; open ends as "up to" and "above"."""
    if sizes is None:
        return ""
    low, high = sizes
    if math.isinf(high):
        return "all" if low <= 0 else f"above {low:.0f}"
    return f"up to {high:.0f}" if low <= 0 else f"{low:.0f} – {high:.0f}"
