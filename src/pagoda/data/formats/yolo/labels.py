"""The label files of YOLO folders: a line per object, class first, then a box, a polygon, or a box and keypoints."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pagoda.data.formats.yolo.pose import refuse_unsaid_keypoints
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.other_programs import NUMBER, label_file_kind
from pagoda.data.table.assembly import NO_BOX
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.files.text import read_text

BEHIND = "; the sixth may be the score or the track of a prediction: take it away where these boxes are to be learnt"


@dataclass
class LabelLines:
    """What the label files of a split list, one entry per line."""

    owners: list[int] = field(default_factory=list)
    """the position of its picture in the split"""
    numbers: list[int] = field(default_factory=list)
    """of the line in its file, from 1"""
    classes: list[float] = field(default_factory=list)
    """as written; not whole where the file has a fraction there"""
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    """x, y, width, height in pixels of the picture; `NO_BOX` where there is none"""
    polygons: list[list[list[float]]] = field(default_factory=list)
    """one x, y, x, y, … in pixels, or none where the line is a box"""
    poses: list[list[float] | None] = field(default_factory=list)
    """x, y, visibility, … in pixels; None where there are no keypoints"""

    def add(
        self,
        owner: int,
        number: int,
        category: float,
        box: tuple[float, ...],
        polygon: list[list[float]],
        pose: list[float] | None,
    ) -> None:
        self.owners.append(owner)
        self.numbers.append(number)
        self.classes.append(int(category) if category.is_integer() else category)
        self.boxes.append(box)
        self.polygons.append(polygon)
        self.poses.append(pose)

    def masks(self) -> PackedMasks | None:
        return (
            PackedMasks.pack(self.polygons, [NO_PIXELS] * len(self.polygons)) if any(self.polygons) else None
        )


def read_lines(path: Path, complaints: Complaints) -> Iterator[tuple[int, float, list[float]]]:
    """Each line of a label file as (its number from 1, class, the values after it); empty ones are left out.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     _ = path.write_text("0 0.5 0.5 0.2 0.4\\n\\n1 0.5 0.5 1 1\\n")
    ...     list(read_lines(path, Complaints()))
    [(1, 0.0, [0.5, 0.5, 0.2, 0.4]), (3, 1.0, [0.5, 0.5, 1.0, 1.0])]
    """
    if not path.is_file():
        return
    try:
        lines = read_text(path).splitlines()
    except (ValueError, OSError) as error:
        complaints.add("unreadable_annotations", str(error))
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            category, *values = map(float, words)
        except ValueError:
            place = f"{path}, line {number}: expected numbers, got '{line.strip()[:80]}'{_what_else(line)}"
            complaints.add("unreadable_annotations", place)
            continue
        yield number, category, values


def _what_else(line: str) -> str:
    """What a line may be that is not made of numbers alone, and what to do; "" where nothing tells."""
    if other := label_file_kind(line):
        return f"; {other}"
    if "," in line:
        pieces = line.replace(",", " ").split()
        is_decimal = len(line.split()) >= 5
        if all(NUMBER.fullmatch(piece) for piece in pieces):
            return (
                "; write decimal points instead of commas"
                if is_decimal
                else "; write spaces instead of commas"
            )
    words = line.split()
    if len(words) >= 5 and not NUMBER.fullmatch(words[0]) and all(map(NUMBER.fullmatch, words[1:])):
        return f"; write the number of the class, from 0 in the order of names, instead of '{words[0]}'"
    return ""


def parse_box(values: list[float], has_keypoints: bool, where: str) -> tuple[float, float, float, float]:
    """(x, y, width, height) as shares of the picture from what follows the class; ValueError with `where`.

    >>> parse_box([0.5, 0.5, 0.2, 0.4], False, "a.txt, line 1")
    (0.4, 0.3, 0.2, 0.4)
    >>> parse_box([0.0, 0.0, 0.5, 0.0, 0.5, 0.25], False, "a.txt, line 2")  # a polygon
    (0.0, 0.0, 0.5, 0.25)
    """
    if not has_keypoints:
        refuse_unsaid_keypoints(values, where)
    is_polygon = len(values) >= 6 and len(values) % 2 == 0 and not has_keypoints
    if not is_polygon and len(values) != 4 and not (has_keypoints and len(values) > 4):
        raise ValueError(
            f"{where}: expected class cx cy width height, or class and at least three points,"
            f" got {len(values) + 1} numbers{BEHIND if len(values) == 5 else ''}"
        )
    coordinates = values if is_polygon else values[:4]
    farthest = max(coordinates, key=abs)
    if abs(farthest) > 2:
        raise ValueError(f"{where}: expected shares of the picture, 0 … 1, got {farthest:g} (pixels?)")
    if is_polygon:
        points = np.array(coordinates).reshape(-1, 2)
        if not np.isfinite(points).all():
            return NO_BOX
        return (*points.min(0).tolist(), *np.ptp(points, axis=0).tolist())
    x, y, width, height = coordinates
    return x - width / 2, y - height / 2, width, height


def in_pixels(shares: list[float], width: int, height: int) -> list[float]:
    """A polygon in shares of the picture, x, y, x, y, …, to the same in pixels.

    >>> in_pixels([0.5, 0.5, 1.0, 0.0], width=40, height=20)
    [20.0, 10.0, 40.0, 0.0]
    """
    return (np.reshape(shares, (-1, 2)) * (width, height)).flatten().tolist()
