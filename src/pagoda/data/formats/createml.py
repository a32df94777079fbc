"""CreateML: one JSON list of pictures, each with labels and boxes about their middle, in pixels."""

from collections.abc import Sequence
from pathlib import Path

from pagoda.data.reading.coco_document import coco_document
from pagoda.files.text import read_json
from pagoda.plain import JsonObject


def createml_document(path: Path, every: Sequence[Path]) -> JsonObject:
    """One file as a COCO document; the classes are those of `every` file of the data set, sorted.

    Raises ValueError naming the file and the picture where an entry is none of CreateML's.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> cat = {"label": "cat", "coordinates": {"x": 5, "y": 5, "width": 4, "height": 2}}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.json")
    ...     _ = path.write_text(json.dumps([{"image": "a.png", "annotations": [cat]}]))
    ...     createml_document(path, [])["annotations"][0]["bbox"]
    [3.0, 4.0, 4.0, 2.0]
    """
    contents = {each: _entries(each) for each in dict.fromkeys((path, *every))}
    names = sorted({label for entries in contents.values() for _, boxes in entries for label, _ in boxes})
    if not names:
        raise ValueError(f"{path}: no picture has an object; there is nothing to detect")
    pictures = (
        ({"file_name": picture}, [(label, {"bbox": box}) for label, box in boxes])
        for picture, boxes in contents[path]
    )
    return coco_document(pictures, names)


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
        return str(entry["label"]), [x - width / 2, y - height / 2, width, height]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: {picture}: an object needs label and coordinates with x, y (its middle), width, height,"
            f" got {str(entry)[:100]}"
        ) from error
