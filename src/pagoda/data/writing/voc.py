"""Pascal VOC written: an XML file per picture in Annotations/, lists in ImageSets/Main/, pictures in JPEGImages/."""

import re
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from pagoda.data.table.annotations import Annotations
from pagoda.data.writing.contents import Contents

_REFUSED = re.compile("[\ufffe\uffff]")
"""of the letters that names may have, what XML cannot hold"""


def write_voc_files(contents: Contents, folder: Path) -> None:
    """Corners count from 1 and include their pixel; fractions of pixels stay. Ignored objects are difficult.

    Raises ValueError for a class name that XML cannot hold.
    """
    for name in contents.label_map.names:
        if _REFUSED.search(name):
            raise ValueError(f"the class {name!r} has a letter that XML cannot hold; rename it")
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, table in contents.splits.items():
        keys = [PurePosixPath(file).with_suffix("").as_posix() for file in table.files]
        (lists / f"{split}.txt").write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
        for index, key in enumerate(keys):
            place = folder / "Annotations" / f"{key}.xml"
            place.parent.mkdir(parents=True, exist_ok=True)
            tree = ElementTree.ElementTree(_file(table, index))
            ElementTree.indent(tree)
            tree.write(place, encoding="utf-8")


def _file(table: Annotations, index: int) -> ElementTree.Element:
    path = PurePosixPath(table.files[index])
    height, width = table.sizes[index].tolist()
    root = ElementTree.Element("annotation")
    _add(root, folder=path.parent.name or "JPEGImages", filename=path.name)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for row in range(table.offsets[index], table.offsets[index + 1]):
        x, y, w, h = table.boxes_xywh[row].tolist()
        element = ElementTree.SubElement(root, "object")
        name = table.label_map.names[table.labels[row]]
        _add(element, name=name, pose="Unspecified", truncated=0, difficult=int(table.ignored[row]))
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
        _add(ElementTree.SubElement(element, "bndbox"), **{key: f"{v:.12g}" for key, v in corners.items()})
    return root


def _add(above: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(above, name).text = str(text)
