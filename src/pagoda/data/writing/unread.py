"""What stands in the files of a data set and no reader takes up, so that no format can get it: counted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pagoda.data.formats.layouts import Layout
from pagoda.data.formats.voc import parse_xml
from pagoda.data.tracks.mot_rows import read_rows
from pagoda.data.writing.holding import Loss
from pagoda.files.text import read_json
from pagoda.messages import counted
from pagoda.plain import JsonObject

IMAGE_KEYS = frozenset(
    ("id", "file_name", "height", "width", "license", "date_captured", "coco_url", "flickr_url")
)
"""of a COCO image: those that are read, and where COCO's own pictures came from"""
OBJECT_KEYS = frozenset(
    ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints", "num_keypoints")
)
CATEGORY_KEYS = frozenset(("id", "name", "supercategory", "keypoints", "skeleton", "sigmas", "flip_pairs"))
USUAL = {"pose": ("", "Unspecified", "unspecified"), "truncated": ("", "0"), "occluded": ("", "0")}
"""VOC's elements of an object → texts that say nothing"""
OBJECT_ELEMENTS = frozenset(
    ("name", "bndbox", "difficult", "deleted", "polygon", "robndbox", "type", "id", "date", "verified")
)
MOT_COLUMNS = 9
"""frame, id, box, flag, class, visibility; files with a place in the world have ten"""


def unread_of(layout: Layout) -> tuple[Loss, ...]:
    """What of a folder of annotated pictures is not read, a line for each key with how many have it.

    COCO's keys and VOC's elements are looked at; other formats tell in the notes of their readers.
    """
    files = sorted({path for paths in layout.splits.values() for path in paths if path.suffix == ".json"})
    if layout.kind == "coco":
        return _told([_coco_keys(read_json(path)) for path in files])
    if layout.kind == "voc":
        return _told([_voc_elements(path) for path in sorted(layout.root.rglob("*.xml"))])
    return ()


def unread_of_sequences(folders: Iterable[Path]) -> tuple[Loss, ...]:
    """What of MOTChallenge's sequences is not read: visibility and places in the world."""
    found: Counter[tuple[str, str]] = Counter()
    for folder in folders:
        rows = read_rows(folder / "gt" / "gt.txt", is_truth=True)
        if rows.shape[1] == MOT_COLUMNS:
            found["row", "visibility"] += int(((rows[:, 8] != 1) & (rows[:, 8] != -1)).sum())
        elif rows.shape[1] > MOT_COLUMNS:
            found["row", "a place in the world"] += int((rows[:, 7:10] != -1).any(1).sum())
    return _told([found])


def _coco_keys(document: object) -> Counter[tuple[str, str]]:
    """(what it belongs to, key) → how many have a value there."""
    found: Counter[tuple[str, str]] = Counter()
    if not isinstance(document, Mapping):
        return found
    for part, noun, known in (
        ("images", "image", IMAGE_KEYS),
        ("annotations", "annotation", OBJECT_KEYS),
        ("categories", "category", CATEGORY_KEYS),
    ):
        for entry in document.get(part) or ():
            found.update((noun, key) for key in _strange(entry, known))
    return found


def _strange(entry: object, known: frozenset[str]) -> list[str]:
    values: JsonObject = entry if isinstance(entry, dict) else {}
    return [key for key, value in values.items() if key not in known and value]


def _voc_elements(path: Path) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for element in parse_xml(path).iter("object"):
        for each in element:
            text = (each.text or "").strip()
            is_read = each.tag in OBJECT_ELEMENTS or (text in USUAL.get(each.tag, ("",)) and not len(each))
            found["object", each.tag] += not is_read
    return found


def _told(counters: Iterable[Counter[tuple[str, str]]]) -> tuple[Loss, ...]:
    total: Counter[tuple[str, str]] = Counter()
    for each in counters:
        total.update(each)
    plural = {"category": "categories"}
    return tuple(
        Loss(
            f"unread {key}",
            count,
            f"{counted(count, noun, plural.get(noun, ''))} with {key}: lost, for it is not read",
        )
        for (noun, key), count in sorted(total.items())
        if count
    )
