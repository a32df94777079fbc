"""Pascal VOC folders: one XML file per picture, corners counted from 1 and inclusive."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import degrees, pi, radians
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pagoda.data.formats.voc_layout import VocSet, find_voc, place_pictures
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.found import Reading, size_of_file, usable_size
from pagoda.data.reading.outlines import box_corners, enclosing, turned
from pagoda.data.reading.outside import complain_of_outside
from pagoda.data.reading.splits import choose_split
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import NO_BOX, NO_LABEL, ImageColumns, ObjectColumns
from pagoda.files.text import as_name, as_number, read_text, truth_value
from pagoda.structures.labels import LabelMap

MARKS_OF_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)["']""")


def read_voc(
    root: str | Path, split: str | None = None, *, names: Sequence[str] | None = None
) -> Annotations:
    """The pictures listed in ImageSets/Main/<split>.txt, or in the folder of that split; all where `split` is None.

    A box of corners (xmin, ymin, xmax, ymax) covers (xmin - 1, ymin - 1, xmax, ymax); difficult objects are
    ignored. Classes are the sorted names in all XML files of the folder, whatever the split, so that every
    split has the same; or `names`, in that order, with an error for any other. Images are numbered 1 … n. Raises
    ValueError or FileNotFoundError with everything that cannot be read.
    """
    root = Path(root)
    found = find_voc(root)
    if found is None:
        raise FileNotFoundError(f"no XML files in {root / 'Annotations'}, nor elsewhere in {root}")
    folder = VocFolder(found, names)
    if split is not None:
        choose_split(found.keys, split, str(root), found.absent)
    return folder.read(split).annotations()


@dataclass(slots=True)
class _File:
    """What one XML file says: its picture, and the objects in it."""

    written: str
    """the name of its picture"""
    size: tuple[int, int] | None
    """(height, width); None where the file does not tell, or nonsense"""
    size_text: str
    """what it tells, for messages"""
    names: list[str] = field(default_factory=list)
    """of the objects' classes, "" where one has none"""
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    """x, y, width, height"""
    ignored: list[bool] = field(default_factory=list)
    """objects marked as difficult"""
    complaints: list[tuple[str, str]] = field(default_factory=list)
    """kind and place"""


class VocFolder:
    """All XML files of a data set, read once, whatever the split; what is wrong in one is told once.

    `within`: the folder in which pictures must lie; what does not is refused before it is opened.
    """

    def __init__(
        self, found: VocSet, names: Sequence[str] | None = None, *, within: Path | None = None
    ) -> None:
        self._found, self._within = found, within
        self._complaints = Complaints(str(found.root))
        try:
            found.pictures  # noqa: B018 (looks for the folder)
        except FileNotFoundError:  # whoever looks for the pictures will say that they are missing
            self._found = replace(found, has_folder=False)
        self._files: dict[str, _File] = {}
        for key, path in found.files.items():
            try:
                self._files[key] = _read_file(parse_xml(path), path)
            except (ValueError, OSError) as error:
                self._complaints.add("unreadable_annotations", str(error))
        self._label_map = self._read_classes(names)
        self._told: set[str] = set()

    def read(self, split: str | None) -> Reading:
        """One split, or all files for None, as a `Reading`; what concerns the folder is told in the first."""
        found = self._found
        source = str(found.root) if split is None else f"{found.root} ({split})"
        complaints = Complaints(source)
        complaints.extend(self._complaints)
        self._complaints = Complaints()
        listed = list(found.files) if split is None else choose_split(found.keys, split, str(found.root))
        keys = [key for key in listed if key in self._files]
        for key in (key for key in listed if key not in found.files and key not in self._told):
            listing = choose_split(found.splits, split or "", str(found.root))[0]
            folder = found.root / "Annotations" if found.has_folder else found.root
            complaints.add("missing_labels", f"{folder / key}.xml is not there, listed in {listing}")
        placed = place_pictures(found, keys, [self._files[key].written for key in keys], split)
        for kind, lines in (("read_otherwise", placed.notes), ("ambiguous_pictures", placed.ambiguous)):
            for line in lines:
                complaints.add(kind, line)
        if self._within is not None:
            paths = [placed.folder / file for file in placed.files]
            complain_of_outside(paths, self._within, source, complaints, refuse=True)
            if "pictures_refused" in complaints:
                return Reading(source, placed.folder, complaints, self._label_map, word="object")
        images = ImageColumns(files=placed.files, ids=range(1, len(keys) + 1))
        for key, file in zip(keys, placed.files, strict=True):
            own = Complaints(source) if key in self._told else complaints
            content = self._files[key]
            for kind, place in content.complaints:
                own.add(kind, place)
            images.sizes.append(
                content.size
                or size_of_file(placed.folder, file, content.size_text, str(found.files[key]), own)
            )
        self._told.update(listed)
        objects = self._columns(keys)
        return Reading(source, placed.folder, complaints, self._label_map, images, objects, word="object")

    def _columns(self, keys: list[str]) -> ObjectColumns:
        files = [self._files[key] for key in keys]
        label_of = {name: label for label, name in enumerate(self._label_map.names)}
        counts = [len(file.boxes) for file in files]
        return ObjectColumns(
            owners=np.repeat(np.arange(len(files)), counts),
            boxes_xywh=np.array([box for file in files for box in file.boxes], np.float64).reshape(-1, 4),
            labels=np.array(
                [label_of.get(name, NO_LABEL) for file in files for name in file.names], np.int32
            ),
            ignored=np.array([is_set for file in files for is_set in file.ignored], bool),
            numbers=np.array([number for count in counts for number in range(1, count + 1)], np.int32),
        )

    def _read_classes(self, names: Sequence[str] | None) -> LabelMap:
        found = sorted({name for file in self._files.values() for name in file.names if name})
        if not found and names is None and not self._complaints.stopping:
            place = f"no XML file in {self._found.root} has an object; give the class names"
            self._complaints.add("bad_categories", place)
        unknown = sorted(set(found).difference(names)) if names is not None else []
        if unknown:
            place = f"{self._found.root} has objects of classes that are not in names: {', '.join(unknown)}"
            self._complaints.add("unknown_categories", place)
        return LabelMap.from_names(found if names is None else names)


class _NoDoctype(ElementTree.TreeBuilder):
    """Entities, the way to make a small XML file explode, can only be declared in a DOCTYPE."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(
            "it declares a DOCTYPE, which is refused for safety and not needed; remove that line"
        )


def parse_xml(path: Path) -> ElementTree.Element:
    """The root element; ValueError naming the file where it cannot be read."""
    try:
        return ElementTree.fromstring(_xml_text(path), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(f"cannot read {path}: {error}") from error


def _xml_text(path: Path) -> str | bytes:
    """In the encoding that the file says, of which expat knows few; as bytes where its zeros tell UTF-16."""
    content = path.read_bytes()
    if b"\0" in content[:4] and not content.startswith(MARKS_OF_UTF16):
        return content
    said = _ENCODING.match(content)
    name = said[1].decode().lower() if said else "utf-8"
    # .NET's writers of text say UTF-16 in files that are saved as UTF-8.
    text = read_text(path) if name.startswith("utf") else content.decode(name)
    return text.lstrip()


def _read_file(tree: ElementTree.Element, path: Path) -> _File:
    is_labelme = tree.find("imagesize") is not None
    places = ("imagesize/nrows", "imagesize/ncols") if is_labelme else ("size/height", "size/width")
    sides = [tree.findtext(place) for place in places]
    file = _File(
        written=(tree.findtext("filename") or "").replace("\0", "").strip(),
        size=usable_size(*sides),
        size_text=f"height {sides[0]!r}, width {sides[1]!r}",
    )
    for number, element in enumerate(tree.iter("object"), 1):
        if (element.findtext("deleted") or "").strip() == "1":  # in LabelMe's XML
            file.complaints.append(
                ("read_otherwise", f"{path}: object {number} is marked as deleted and left out")
            )
            continue
        written = (element.findtext("name") or "").strip()  # XML may well be indented
        name = as_name(written) or ""
        where = f"{path}: object {number} ('{name}')"
        if name != written:
            file.complaints.append(("trimmed_names", f"{path}: {written!r} becomes '{name}'"))
        if not name:
            file.complaints.append(("unknown_categories", f"{path}: object {number} has no name"))
        file.names.append(name)
        file.boxes.append(_read_box(element, where, file.complaints))
        try:
            is_difficult = truth_value(element.findtext("difficult"), "difficult")
        except ValueError as error:
            file.complaints.append(("bad_flags", f"{where}: {error}"))
            is_difficult = False
        file.ignored.append(is_difficult)
    return file


def _read_box(
    element: ElementTree.Element, where: str, complaints: list[tuple[str, str]]
) -> tuple[float, ...]:
    """(x, y, width, height) in pixels from 0, `NO_BOX` where there are no four numbers."""
    own = element.find("robndbox")
    if own is not None and (element.findtext("type") or "").strip() != "bndbox":
        return _read_turned_box(own, where, complaints)
    if element.find("bndbox") is None and element.find("polygon/pt") is not None:
        return _box_of_polygon(element, where, complaints)
    texts = [element.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = corners = [as_number(text) for text in texts]
    if x1 is None or y1 is None or x2 is None or y2 is None:
        complaints.append(("malformed_boxes", f"{where} needs four numbers in bndbox, got {texts}"))
        return NO_BOX
    if x1 > x2 or y1 > y2:
        complaints.append(("turned_corners", f"{where}: xmin, ymin, xmax, ymax = {_words(corners)}"))
        x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    if x1 == x2 or y1 == y2:
        complaints.append(("equal_corners", f"{where} is one pixel wide or high (equal corners); kept"))
    if x1 == 0 or y1 == 0:
        complaints.append(
            ("corners_from_0", f"{where}: xmin, ymin = {_words([x1, y1])}, where VOC counts from 1")
        )
    box = x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1
    return _around(box, radians(_rotation(element)), where, complaints)


def _read_turned_box(
    box: ElementTree.Element, where: str, complaints: list[tuple[str, str]]
) -> tuple[float, ...]:
    """roLabelImg's and labelImg2's: middle and sides in pixels from 0, the angle in radians clockwise."""
    texts = [box.findtext(name) for name in ("cx", "cy", "w", "h", "angle")]
    cx, cy, width, height, angle = (as_number(text) for text in texts)
    if cx is None or cy is None or width is None or height is None or angle is None or abs(angle) > 2 * pi:
        complaints.append(
            ("malformed_boxes", f"{where} needs cx, cy, w, h and angle (radians) in robndbox, got {texts}")
        )
        return NO_BOX
    return _around((cx - width / 2, cy - height / 2, width, height), angle, where, complaints)


def _around(
    box: tuple[float, float, float, float], angle: float, where: str, complaints: list[tuple[str, str]]
) -> tuple[float, ...]:
    """The box around `box` after a turn about its middle, `angle` in radians clockwise; a turn is noted."""
    if not angle:
        return box
    complaints.append(
        ("read_otherwise", f"{where} is turned by {degrees(angle):g}°; it becomes the box around it")
    )
    middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    return tuple(enclosing(turned(box_corners(*box), middle, angle))["bbox"])


def _box_of_polygon(
    element: ElementTree.Element, where: str, complaints: list[tuple[str, str]]
) -> tuple[float, ...]:
    """Of LabelMe's XML (LabelMe 3.0 in CVAT), whose points are pixels from 0."""
    texts = [(point.findtext("x"), point.findtext("y")) for point in element.iterfind("polygon/pt")]
    points = [(as_number(x), as_number(y)) for x, y in texts]
    if any(None in point for point in points):
        complaints.append(
            ("malformed_boxes", f"{where} needs numbers x and y in each pt of polygon, got {texts}"[:300])
        )
        return NO_BOX
    complaints.append(("read_otherwise", f"{where} is a polygon; it becomes the box around it"))
    return tuple(enclosing(np.array(points, np.float64))["bbox"])


def _rotation(element: ElementTree.Element) -> float:
    """CVAT's attribute rotation, in degrees clockwise about the middle; 0 where there is none."""
    pairs = ((each.findtext("name"), each.findtext("value")) for each in element.iter("attribute"))
    return next((as_number(value) or 0.0 for name, value in pairs if name == "rotation"), 0.0) % 360


def _words(values: Sequence[float | None]) -> str:
    return ", ".join(f"{value:g}" for value in values)
