"""CreateML: one JSON list of pictures, each with labels and boxes about their middle, in pixels."""

import json
from collections.abc import Sequence
from pathlib import Path

from pagoda.data.reading.category_ids import spellings
from pagoda.data.reading.coco_document import coco_document
from pagoda.data.reading.json_kinds import HEAD_BYTES
from pagoda.files.text import as_name, read_json
from pagoda.plain import JsonObject


def createml_document(what: Sequence[Path], every: Sequence[Path]) -> JsonObject:
    """The files of a split as a COCO document; the classes are those of `every` file of the data set, sorted.

    Raises ValueError naming the file and the picture where an entry is none of CreateML's.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> cat = {"label": "cat", "coordinates": {"x": 5, "y": 5, "width": 4, "height": 2}}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.json")
    ...     _ = path.write_text(json.dumps([{"image": "a.png", "annotations": [cat]}]))
    ...     createml_document([path], [])["annotations"][0]["bbox"]
    [3.0, 4.0, 4.0, 2.0]
    """
    contents = {each: _entries(each) for each in dict.fromkeys((*what, *every))}
    written = spellings(label for entries in contents.values() for _, boxes in entries for label, _ in boxes)
    if not written:
        raise ValueError(f"{what[0]}: no picture has an object; there is nothing to detect")
    pictures = (
        ({"file_name": picture}, [(written[as_name(label) or label], {"bbox": box}) for label, box in boxes])
        for path in what
        for picture, boxes in contents[path]
    )
    return coco_document(pictures, list(written.values()))


def names_itself(path: Path) -> bool:
    """Whether a file is called as a picture in it is: labelImg writes one for each."""
    head = path.read_bytes()[:HEAD_BYTES]
    return any(f'"{stem}.'.encode() in head for stem in (path.stem, json.dumps(path.stem)[1:-1]))


def _entries(path: Path) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """(picture, its labels and xywh boxes), in the order of the file."""
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path}: a CreateML file is a list of pictures, got a {type(content).__name__}")
    entries = []
    for number, entry in enumerate(content, 1):
        picture = entry.get("image") or entry.get("imagefilename") if isinstance(entry, dict) else None
        objects = (entry.get("annotations") or entry.get("annotation") or []) if picture else None
        if not isinstance(objects, list) or not isinstance(picture, str):
            raise ValueError(f"{path}: picture {number} needs image and annotations, got {str(entry)[:100]}")
        entries.append((picture, [_labelled_box(path, picture, each) for each in objects]))
    return entries


def _labelled_box(path: Path, picture: str, entry: JsonObject) -> tuple[str, list[float]]:
    try:
        place = entry["coordinates"]
        x, y, width, height = (float(place[key]) for key in ("x", "y", "width", "height"))
        label = entry["label"] if isinstance(entry["label"], str) else as_name(entry["label"])
        if not label or not as_name(label):
            raise ValueError(f"a label must be text, got {label!r}")
        return label, [x - width / 2, y - height / 2, width, height]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: {picture}: an object needs label and coordinates with x, y (its middle), width, height,"
            f" got {str(entry)[:100]}"
        ) from error
