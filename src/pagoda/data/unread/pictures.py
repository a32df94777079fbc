"""What stands in the files of annotated pictures and no reader takes up: counted, for each format."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from pagoda.data.formats.labelme import AREAS, TURNED, labelme_files
from pagoda.data.formats.layouts import Kind, Layout
from pagoda.data.formats.via import CLASS_ATTRIBUTE
from pagoda.data.formats.voc import parse_xml
from pagoda.data.formats.voc_layout import find_voc
from pagoda.data.formats.yolo.layout import folder_of, read_description
from pagoda.data.reading.splits import choose_split
from pagoda.data.unread.fields import FIELDS, Lost, says_something
from pagoda.files.text import read_json
from pagoda.plain import JsonObject, checked

Found = Counter[Lost]
_NOTHING = ("0", "0.0", "false", "no", "unknown", "unspecified")
"""texts of VOC's elements that say nothing, in any case of letters"""
_OWN_FIRST = "replaced by those of the first class, for all classes have the same"


@checked
def unread_of_pictures(layout: Layout, splits: Sequence[str] = ()) -> Counter[Lost]:
    """What of the files of these splits is not read, or of all; "train+val" means both.

    Files that cannot be read are left to the readers, which complain of them.
    """
    parts = [[split] if split in layout.splits else split.split("+") for split in splits]
    names = [name.strip() for each in parts for name in each] or list(layout.splits)
    found: Found = Counter()
    for each in _COUNTERS[layout.kind](layout, names):
        found.update(each)
    return found


def _documents(layout: Layout, splits: Sequence[str]) -> Iterator[object]:
    """The contents of the JSON files of these splits, each once."""
    if layout.kind == "labelme":
        files = labelme_files(layout.root)
        paths: Iterable[Path] = [path for split in splits for path in choose_split(files, split, "")]
    else:
        paths = [path for split in splits for path in choose_split(layout.splits, split, "")]
    for path in dict.fromkeys(paths):
        try:
            yield read_json(path)
        except (ValueError, OSError):
            continue


def _objects(value: object) -> list[JsonObject]:
    """Those of a list that are objects, or of a mapping of numbers to them."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [entry for entry in entries if isinstance(entry, dict)]


def _without(entry: JsonObject, key: str, inner: str) -> JsonObject:
    """The entry without a key of one of its values, which is read."""
    value = entry.get(key)
    if not isinstance(value, dict):
        return entry
    return {**entry, key: {name: each for name, each in value.items() if name != inner}}


def _coco(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    known = FIELDS["COCO"]
    for document in _objects(list(_documents(layout, splits))):
        yield known["file"].count(document)
        yield known["images"].count(document.get("images"))
        entries = [
            _without(entry, "attributes", "rotation") for entry in _objects(document.get("annotations"))
        ]
        yield known["annotations"].count(entries)
        yield known["categories"].count(document.get("categories"))


def _voc(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    found = find_voc(layout.root)
    if found is None:
        return
    keys = [key for split in splits for key in choose_split(found.keys, split, "")]
    for path in [found.files[key] for key in dict.fromkeys(keys) if key in found.files]:
        try:
            tree = parse_xml(path)
        except (ValueError, OSError):
            continue
        yield FIELDS["VOC"]["file"].count(_plain(tree))
        yield FIELDS["VOC"]["object"].count([_plain(element) for element in tree.iter("object")])


def _plain(element: Element) -> JsonObject:
    """What stands in an element by tag, as texts and lists of them; texts that say nothing are empty."""
    return {each.tag: [_text(part) for part in each.iter() if not _is_of_attribute(part)] for each in element}


def _text(element: Element) -> str:
    if element.tag == "attribute":  # CVAT's pairs of a name and a value, of which rotation is read
        name, value = (element.findtext(tag) or "" for tag in ("name", "value"))
        return "" if name == "rotation" or value.strip().lower() in _NOTHING else value
    text = (element.text or "").strip()
    return "" if text.lower() in _NOTHING else text


def _is_of_attribute(element: Element) -> bool:
    return element.tag in ("name", "value") and not len(element)


def _yolo(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    description = read_description(layout.description or layout.root)
    yield FIELDS["YOLO"]["file"].count(description)
    names = description.get("kpt_names")
    own = list(names.values()) if isinstance(names, dict) else []
    yield _times(
        Lost("class", "kpt_names", "classes", "with names of keypoints of its own", _OWN_FIRST),
        sum(each != own[0] for each in own),
    )
    yield _times(Lost("file", "notes.json"), (folder_of(layout.root) / "notes.json").is_file())


def _times(what: Lost, count: int) -> Found:
    return Counter({what: int(count)})


def _labelme(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    known = FIELDS["LabelMe"]
    for content in _objects(list(_documents(layout, splits))):
        shapes = _objects(content.get("shapes"))
        yield known["file"].count(content)
        yield known["shapes"].count([_without(shape, "flags", "difficult") for shape in shapes])
        yield Counter(filter(None, (_other_type(shape) for shape in shapes)))
        labels: dict[object, set[str]] = {}
        areas = [shape for shape in shapes if _type(shape) in (*AREAS, *TURNED)]
        for shape in areas:
            labels.setdefault(str(shape.get("group_id")), set()).add(str(shape.get("label")))
        joined = [shape for shape in areas if shape.get("group_id") is not None]
        yield _times(
            Lost("shape", "group_id", "", "of a group of several labels", "an object of its own from now on"),
            sum(len(labels[str(shape["group_id"])]) > 1 for shape in joined),
        )


def _type(shape: JsonObject) -> str:
    return str(shape.get("shape_type") or "polygon")


def _other_type(shape: JsonObject) -> Lost | None:
    """What becomes of a shape that LabelMe's areas and keypoints do not tell of; None where it is one of these."""
    kind = _type(shape)
    if kind in TURNED:
        return Lost("shape", kind, "", f"of the type {kind}", "a polygon from now on")
    if kind == "circle":
        return Lost("shape", kind, "", "of the type circle", "a polygon of 64 corners from now on")
    if kind in AREAS or (kind == "point" and shape.get("group_id") is not None):
        return None
    return Lost("shape", kind, "", f"of the type {kind}", "left out, for it is no area and of no object")


def _createml(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    for content in _documents(layout, splits):
        for entry in _objects(content):
            yield FIELDS["CreateML"]["file"].count(entry)
            yield FIELDS["CreateML"]["annotations"].count(entry.get("annotations") or entry.get("annotation"))


def _via(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    for content in _objects(list(_documents(layout, splits))):
        entries = _objects(content.get("_via_img_metadata", content))
        regions = [region for entry in entries for region in _objects(entry.get("regions"))]
        yield FIELDS["VIA"]["file"].count(entries)
        yield FIELDS["VIA"]["regions"].count(regions)
        given = [region.get("region_attributes") or {} for region in regions]
        names = dict.fromkeys(name for each in given for name in each)
        if len(names) > 1:
            yield Counter(
                Lost("region", name)
                for each in given
                for name, value in each.items()
                if name != CLASS_ATTRIBUTE and says_something(value)
            )


def _label_studio(layout: Layout, splits: Sequence[str]) -> Iterator[Found]:
    known = FIELDS["Label Studio"]
    for content in _documents(layout, splits):
        tasks = [task for task in _objects(content) if isinstance(task.get("data"), dict)]
        yield known["file"].count(tasks)
        for task in tasks:
            answers = _objects(task.get("annotations") or task.get("completions"))
            yield known["results"].count([each for one in answers for each in _objects(one.get("result"))])


_COUNTERS: Mapping[Kind, Callable[[Layout, Sequence[str]], Iterator[Found]]] = {
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
    "labelme": _labelme,
    "createml": _createml,
    "via": _via,
    "labelstudio": _label_studio,
}
