"""Data sets that are read as a COCO document, whatever their files are: everything behind it is shared."""

from collections.abc import Sequence
from math import radians
from pathlib import Path
from typing import Literal

import numpy as np

from pagoda.data.formats.coco import load_coco
from pagoda.data.formats.coco_places import Placed, place_pictures
from pagoda.data.formats.createml import createml_document
from pagoda.data.formats.label_studio import label_studio_document
from pagoda.data.formats.labelme import labelme_document
from pagoda.data.formats.via import via_document
from pagoda.data.reading.json_kinds import json_files
from pagoda.data.reading.outlines import box_corners, enclosing, turned
from pagoda.data.reading.outside import is_refused
from pagoda.messages import counted
from pagoda.pictures.read import PictureError, picture_size
from pagoda.plain import JsonObject, checked

DocumentKind = Literal["coco", "labelme", "createml", "via", "labelstudio"]
DOCUMENT_KINDS: tuple[DocumentKind, ...] = ("coco", "labelme", "createml", "via", "labelstudio")

PATTERNS = ("*.json", "*/*.json", "annotations/*/*.json")
"""Where the JSON files of CreateML, VIA and Label Studio lie"""


@checked
def open_document(
    kind: DocumentKind,
    root: Path,
    split: str,
    what: Sequence[Path],
    every: Sequence[Path],
    *,
    within: Path | None = None,
) -> Placed:
    """One split as a COCO document with its pictures looked for.

    `what` is read for the split, `every` for all splits of the data set. Pictures that do not lie `within` that
    folder are not asked for their size. `Placed.notes` and `left_out` say how
    pictures were found and what is no object. Raises ValueError naming the file where it cannot be read.
    """
    if kind == "labelme":
        return labelme_document(root, split, within=within)
    path = what[0]
    notes: list[str] = []
    lost: list[str] = []
    try:
        document = _document(kind, what, every, notes, lost)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # A value of another type, or of no sense, where the format has its own: whoever wrote it must look.
        raise ValueError(f"{path} does not hold what its format says: {error}") from error
    placed = place_pictures(document, root, path, split)
    if kind != "coco":
        _fill_sizes(placed, within)
    return placed._replace(notes=(*notes, *placed.notes), left_out=tuple(lost))


@checked
def other_json(root: Path, kind: DocumentKind) -> list[Path]:
    """The files of CreateML, VIA or Label Studio in a folder."""
    return json_files(root, kind, PATTERNS)


def _document(
    kind: DocumentKind, what: Sequence[Path], every: Sequence[Path], notes: list[str], lost: list[str]
) -> JsonObject:
    if kind == "createml":
        return createml_document(what, every)
    path = what[0]
    if kind == "via":
        return via_document(path, every, notes, lost)
    if kind == "labelstudio":
        return label_studio_document(path, every, lost)
    return _with_turned_boxes(load_coco(path), str(path), notes)


def _with_turned_boxes(document: JsonObject, source: str, notes: list[str]) -> JsonObject:
    """CVAT keeps a box's angle beside the upright box: such boxes become what they enclose, which is noted.

    The angle is `attributes.rotation`, in degrees clockwise about the middle of the box.
    """
    entries = document["annotations"]
    if not isinstance(entries, list):
        return document
    turned_rows = [index for index, entry in enumerate(entries) if _rotation(entry)]
    if not turned_rows:
        return document
    entries = list(entries)
    for row in turned_rows:
        x, y, width, height = entries[row]["bbox"]
        middle = np.array([x + width / 2, y + height / 2])
        outline = enclosing(
            turned(box_corners(x, y, width, height), middle, radians(_rotation(entries[row])))
        )
        entries[row] = {**entries[row], **outline, "area": width * height}
    notes.append(
        f"{source}: {counted(len(turned_rows), 'box has', 'boxes have')} a rotation; each becomes the"
        " polygon it covers,"
        " and the box around it"
    )
    return {**document, "annotations": entries}


def _rotation(entry: object) -> float:
    """The angle of a CVAT box in degrees; 0 where it has none, or an outline of its own."""
    if not isinstance(entry, dict):
        return 0.0
    attributes = entry.get("attributes")
    angle = attributes.get("rotation") if isinstance(attributes, dict) else None
    if not isinstance(angle, int | float) or isinstance(angle, bool) or entry.get("segmentation"):
        return 0.0
    box = entry.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)
    return float(angle) % 360 if is_box and np.isfinite(angle) else 0.0


def _fill_sizes(placed: Placed, within: Path | None) -> None:
    """The pictures' own sizes where the format does not say them; the missing and the broken are told later."""
    for entry in placed.document["images"]:
        path = placed.folder / entry["file_name"]
        if "height" not in entry and not is_refused(path, within):
            try:
                entry["height"], entry["width"] = picture_size(path)
            except PictureError:
                continue
