"""Pascal VOC folders: one XML file per picture, corners counted from 1 and inclusive."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.picture_paths import refuse_ambiguous
from pagoda.data.splits import choose_split
from pagoda.data.voc_layout import VocSet, find_voc, place_pictures
from pagoda.pictures import picture_size
from pagoda.structures.labels import LabelMap


def read_voc(
    root: str | Path, split: str | None = None, *, names: Sequence[str] | None = None
) -> Annotations:
    """The pictures listed in ImageSets/Main/<split>.txt, or in the folder of that split; all where `split` is None.

    A box of corners (xmin, ymin, xmax, ymax) covers (xmin - 1, ymin - 1, xmax, ymax); difficult objects are
    ignored. Classes are the sorted names in all XML files of the folder, whatever the split, so that every
    split has the same; or `names`, in that order, with an error for any other. Images are numbered 1 … n.
    """
    root = Path(root)
    voc = find_voc(root)
    if voc is None:
        raise FileNotFoundError(f"no XML files in {root / 'Annotations'}, nor elsewhere in {root}")
    trees = {key: parse_xml(path) for key, path in voc.files.items()}
    label_map = _label_map(trees, names, root)
    stems = list(trees) if split is None else _listed(voc, split)
    source = str(root) if split is None else f"{root} ({split})"
    written = [(trees[stem].findtext("filename") or "").strip() for stem in stems]
    pictures, files, notes, ambiguous = place_pictures(voc, stems, written, split)
    refuse_ambiguous(ambiguous, source)
    images, objects = ImageColumns(files=files), ObjectColumns()
    for index, (stem, file) in enumerate(zip(stems, files, strict=True)):
        images.sizes.append(annotated_size(trees[stem]) or picture_size(pictures / file))
        for element in trees[stem].iter("object"):
            box = object_box_xywh(element, voc.files[stem])
            if 1 in box[2:]:
                notes.append(
                    f"{stem}.xml: a '{class_name(element)}' is one pixel wide or high (equal corners); kept"
                )
            is_difficult = (element.findtext("difficult") or "0").strip() == "1"
            objects.add(index, box, label_map.label_named(class_name(element)), is_difficult)
    images.ids = list(range(1, len(stems) + 1))
    return assemble(images, objects, label_map=label_map, root=pictures, source=source, notes=notes)


class _NoDoctype(ElementTree.TreeBuilder):
    """Entities, the way to make a small XML file explode, can only be declared in a DOCTYPE."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(
            "it declares a DOCTYPE, which is refused for safety and not needed; remove that line"
        )


def parse_xml(path: Path) -> ElementTree.Element:
    """The root element; ValueError naming the file where it cannot be read."""
    try:
        return ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def _listed(voc: VocSet, split: str) -> list[str]:
    stems = choose_split(voc.keys, split, str(voc.root), voc.absent)
    missing = [stem for stem in stems if stem not in voc.files]
    if missing:
        listing = choose_split(voc.splits, split, str(voc.root))[0]
        raise FileNotFoundError(
            f"{listing} lists {len(missing)} pictures without an XML file in {voc.root / 'Annotations'},"
            f" the first is {missing[0]}; a split of unlabelled pictures cannot be read as annotations"
        )
    return stems


def _label_map(trees: dict[str, ElementTree.Element], names: Sequence[str] | None, root: Path) -> LabelMap:
    found = sorted({class_name(element) for tree in trees.values() for element in tree.iter("object")})
    if not found and names is None:
        raise ValueError(f"no XML file in {root} has an object; give the class names")
    unknown = sorted(set(found).difference(names)) if names is not None else []
    if unknown:
        raise ValueError(f"{root} has objects of classes that are not in names: {', '.join(unknown)}")
    return LabelMap.from_names(found if names is None else names)


def annotated_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width), None where missing or 0, as some labelling programs write."""
    height, width = (int(float(tree.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def class_name(element: ElementTree.Element) -> str:
    """The class of an object element, "" where it has none."""
    return (element.findtext("name") or "").strip()


def object_box_xywh(element: ElementTree.Element, path: Path) -> tuple[float, float, float, float]:
    """(x, y, width, height) in pixels from 0; ValueError naming file and object without four numbers."""
    texts = [element.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: '{class_name(element)}' needs four numbers in bndbox, got {texts}"
        ) from error
    return x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1
