"""Which kind of data set a folder is, which splits it has, and where its pictures are."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pagoda.data.formats.coco_places import (
    Placed,
    coco_split,
    coco_splits,
    named_by_split,
    unread_coco_files,
)
from pagoda.data.formats.createml import names_itself
from pagoda.data.formats.documents import DOCUMENT_KINDS, DocumentKind, open_document, other_json
from pagoda.data.formats.labelme import labelme_splits
from pagoda.data.formats.voc_layout import find_voc
from pagoda.data.formats.yolo.layout import (
    NAME_FILES,
    description_file,
    find_splits,
    has_labels,
    naming_files,
    read_description,
    unread_labels,
)
from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.json_kinds import json_kind
from pagoda.data.reading.other_programs import describe_unread
from pagoda.data.reading.splits import choose_split, files_by_split, unread_note
from pagoda.data.tracks.folders import splits_of_videos
from pagoda.files.text import with_home
from pagoda.messages import short_list
from pagoda.plain import checked

KNOWN = (
    "COCO (annotations/train.json, annotations/instances_train2017.json, train/_annotations.coco.json or a COCO JSON"
    " file beside its pictures), VOC (Annotations/*.xml, or XML files beside the pictures), YOLO (data.yaml, obj.data"
    " or classes.txt with a text file per picture), LabelMe (a JSON file with shapes per picture), CreateML, VIA or"
    " Label Studio (their JSON files)"
)

Kind = Literal["coco", "voc", "yolo", "labelme", "createml", "via", "labelstudio"]
KIND_NAMES: dict[Kind, str] = {
    "coco": "COCO",
    "voc": "VOC",
    "yolo": "YOLO",
    "labelme": "LabelMe",
    "createml": "CreateML",
    "via": "VIA",
    "labelstudio": "Label Studio",
}
ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "json")
"""Folders beside the pictures' folders, where a JSON file is given by its path"""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.IGNORECASE)
MAX_NEAR = 20
"""Folders looked into for a data set one folder lower"""
VOC_FOLDERS = ("voc", "VOC20??", "VOCdevkit/VOC20??", "VOCdevkit")


@checked
@dataclass(frozen=True)
class Layout:
    """A data set found on disk.

    >>> layout = Layout("coco", Path("set"), {"train": (Path("set/annotations/train.json"),)})
    >>> layout.describe()
    'COCO data set in set: train (annotations/train.json)'
    """

    kind: Kind
    """by which reader it is read"""
    root: Path
    """the folder from which paths are relative"""
    splits: dict[str, tuple[Path, ...]]
    """Split name → what is read for it: JSON files, list files or picture folders"""
    others: tuple[tuple[str, Path], ...] = ()
    """Further kinds the folder also holds, which are not read"""
    absent: tuple[tuple[str, str], ...] = ()
    """Splits that the data set names but does not hold, each with the reason; an error only where one is asked for"""
    unread: tuple[str, ...] = ()
    """One line on annotation files below that belong to no split, where there are any"""
    description: Path | None = None
    """The YAML or .data file of a YOLO data set that was given by it"""
    asked: Path | None = None
    """The folder that was asked for, which may be one above `root`; None where it was a file"""

    @property
    def home(self) -> Path:
        """The folder in which all that belongs to the data set should lie."""
        return self.asked or self.root

    def describe(self) -> str:
        """One line on what is read, one more for each other kind that is there too and each split that is not."""
        splits = (f"{name} ({', '.join(map(self._short, what))})" for name, what in self.splits.items())
        name = KIND_NAMES[self.kind]
        lines = [f"{name} data set in {self.root}: {', '.join(splits) or 'no split that can be read'}"]
        for kind, root in self.others:
            lines.append(f"{root} is also a {KIND_NAMES[kind]} data set; {name} is read first")
        videos = [split for split, what in splits_of_videos(self.home).items() if what[0].is_dir()]
        if videos:
            lines.append(
                f"annotated videos lie there, too ({short_list(videos, 3)}), which models of clips and `pagoda data"
                f" convert --to mot` (posetrack) read; {name} is read first"
            )
        lines += [f"split {split} is not there and is left out: {reason}" for split, reason in self.absent]
        lines += self.unread
        for path in sorted((self.root / "annotations").glob("person_keypoints_*.json")):
            if self.kind == "coco" and (path,) not in self.splits.values():
                lines.append(f"keypoints stand in {self._short(path)}: choose split '{path.stem}'")
        return "\n".join(lines)

    def document(self, split: str, *, inside_only: bool = False) -> Placed:
        """One split of a kind that is read as a COCO document, with its pictures looked for.

        `inside_only`: no picture outside `home` is opened. Raises ValueError naming the file where it cannot be read.
        """
        assert self.kind in DOCUMENT_KINDS, f"{self.kind} is not read as a document"
        every = [path for what in self.splits.values() for path in what]
        what = choose_split(self.splits, split, str(self.root))
        within = self.home if inside_only else None
        return open_document(self.kind, self.root, split, what, every, within=within)

    def _short(self, path: Path) -> str:
        """Relative to `root` where it lies within, also where one of them is written from the working folder."""
        pairs = ((self.root, path), (self.root.resolve(), path.resolve()))
        return next(
            (str(place.relative_to(root)) for root, place in pairs if place.is_relative_to(root)), str(path)
        )


def find_dataset(path: str | Path) -> Layout:
    """The layout at `path`: a folder, an annotation JSON file, or the YAML or .data file of a YOLO data set.

    COCO comes before VOC, YOLO, LabelMe and the others. Raises FileNotFoundError where nothing is there, ValueError
    where it is no layout we know.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(1, (32, 48)), folder, split="val")
    ...     layout = find_dataset(folder)
    >>> layout.kind, list(layout.splits)
    ('coco', ['val'])
    """
    if (address := _ADDRESS.match(str(path))) is not None:
        raise FileNotFoundError(
            f"{path} is an address ({address[0]}); data sets are read from folders: fetch it, unpack it, and give its"
            " folder"
        )
    path = with_home(path)
    layout = _from_file(path) if path.is_file() else _from_folder(path)
    if not layout.splits:
        raise FileNotFoundError("; ".join(reason for _, reason in layout.absent))
    return replace(layout, asked=path) if path.is_dir() else layout


def _from_folder(path: Path) -> Layout:
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}{_nearest_existing(path)}")
    found = _all_kinds(path)
    if not found:
        _refuse_several_descriptions(path)
        raise ValueError(_why_none(path))
    return replace(found[0], others=tuple((other.kind, other.root) for other in found[1:]))


def _all_kinds(path: Path) -> list[Layout]:
    """What a folder may be, the kind that is read first; ValueError where something stands in the way of it."""
    finders: tuple[Callable[[Path], Layout | None], ...] = (_find_coco, _find_voc, _find_yolo)
    found: list[Layout] = []
    for find in finders:
        try:
            found += [layout for layout in [find(path)] if layout is not None]
        except ValueError:
            if not found:  # what stands in the way of a kind that is read later does not matter
                raise
    if not found or _is_unlabelled(found[0]):  # last, for these must look into files
        later = (_find_labelme, *(_finder_of(kind) for kind in ("createml", "via", "labelstudio")))
        found = [layout for find in later if (layout := find(path)) is not None] or found
    if found and _is_unlabelled(found[0]) and (unread := describe_unread(path)):
        raise ValueError(f"{path}: {unread}")
    return found


def _why_none(path: Path) -> str:
    """That a folder is no data set: which of videos it is, where one lies near, or what is in it."""
    videos = splits_of_videos(path)
    if videos:
        first = next(iter(videos))
        return (
            f"{path} holds annotated videos ({', '.join(videos)}), which models of clips read: pagoda train"
            f" detect_and_track_resnet18_3d --data {path} --train-split {first} --val-split {list(videos)[-1]};"
            f" pagoda track eval --gt {path} scores tracks. For detectors of pictures looked for {KNOWN}; found"
            f" {_contents(path)}"
        )
    if near := _sets_within(path) or _set_above(path):
        places = " and ".join(f"{place} ({KIND_NAMES[kind]})" for place, kind in near)
        return f"{path} is no data set itself, but {places} may be: give that path"
    if unread := describe_unread(path):
        return f"{path}: {unread} (what is read: {', '.join(KIND_NAMES.values())})"
    return f"{path} is no data set we know: looked for {KNOWN}; found {_contents(path)}"


def _sets_within(path: Path) -> list[tuple[Path, Kind]]:
    """The data sets one folder lower, of the first `MAX_NEAR` folders: archives often hold a folder of their own."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = []
    for folder in folders[:MAX_NEAR]:
        try:
            found += [(folder, layout.kind) for layout in _all_kinds(folder)[:1]]
        except (ValueError, OSError):  # whoever is given it will say what is wrong
            continue
    return found


def _set_above(path: Path) -> list[tuple[Path, Kind]]:
    """The data set of which the folder seems to be a part, by the usual files one or two folders higher."""
    for above in path.absolute().parents[:2]:
        usual: tuple[tuple[str, Kind], ...] = (("annotations/*.json", "coco"), ("Annotations/*.xml", "voc"))
        for pattern, kind in usual:
            if next(files_like(above, pattern), None):
                return [(above, kind)]
        try:
            if description_file(above) is not None:
                return [(above, "yolo")]
        except (ValueError, OSError):
            continue
    return []


def _from_file(path: Path) -> Layout:
    suffix = path.suffix.lower()
    is_known = suffix in (".yaml", ".yml", ".data") or (suffix == ".json" and json_kind(path) is not None)
    if not is_known and (unread := describe_unread(path)):
        raise ValueError(unread)
    if suffix == ".json":
        kind: DocumentKind = json_kind(path) or "coco"  # whoever reads it will say what is wrong
        if kind == "labelme":
            raise ValueError(f"{path} is the LabelMe file of one picture; give its folder, {path.parent}")
        root = path.parent.parent if path.parent.name.lower() in ANNOTATION_FOLDERS else path.parent
        return Layout(kind, root, {coco_split(path): (path,)})
    if suffix in (".yaml", ".yml", ".data"):
        found = find_splits(path)
        if (found.places or found.absent) and not {"names", "train", "val"}.isdisjoint(
            read_description(path)
        ):
            return Layout(
                "yolo", path.parent, found.places, absent=tuple(found.absent.items()), description=path
            )
        raise ValueError(
            f"{path} describes no YOLO data set: expected names, and train, val or test, each with a folder or a list"
        )
    raise ValueError(f"{path} is a file, but no COCO JSON and no YOLO data.yaml; expected a folder: {KNOWN}")


def _find_coco(root: Path) -> Layout | None:
    splits = coco_splits(root)
    if not splits:
        return None
    return Layout("coco", root, splits, unread=unread_note(unread_coco_files(root, splits), root))


def _find_voc(root: Path) -> Layout | None:
    folders = [root, *(folder for pattern in VOC_FOLDERS for folder in sorted(root.glob(pattern)))]
    places = [folder for folder in folders if next(files_like(folder / "Annotations", "**/*.xml"), None)]
    if len(places) > 1:
        raise ValueError(f"{root} holds several VOC data sets; give one of {', '.join(map(str, places))}")
    voc = find_voc(places[0] if places else root)
    if voc is None:
        return None
    unread = unread_note(voc.unread, voc.root)
    return Layout("voc", voc.root, voc.splits, absent=tuple(voc.absent.items()), unread=unread)


def _find_yolo(root: Path) -> Layout | None:
    if description_file(root) is None and not any((root / name).is_file() for name in NAME_FILES):
        return None
    found = find_splits(root)
    if not found.places and not found.absent:
        return None
    unread = unread_note(unread_labels(root, found.places), root)
    return Layout("yolo", root, found.places, absent=tuple(found.absent.items()), unread=unread)


def _is_unlabelled(layout: Layout) -> bool:
    """A list of class names and pictures alone: other programs keep such a list beside their files, too."""
    return layout.kind == "yolo" and description_file(layout.root) is None and not has_labels(layout.splits)


def _find_labelme(root: Path) -> Layout | None:
    splits, alone = labelme_splits(root)
    return Layout("labelme", root, splits, unread=unread_note(alone, root)) if splits else None


def _finder_of(kind: DocumentKind) -> Callable[[Path], Layout | None]:
    def find(root: Path) -> Layout | None:
        files = other_json(root, kind)
        if kind == "createml" and len(files) > 1 and all(map(names_itself, files)):
            splits, alone = files_by_split(files, root)
            places = {name: tuple(paths) for name, paths in splits.items()}
            return Layout(kind, root, places, unread=unread_note(alone, root))
        return Layout(kind, root, named_by_split(files, root)) if files else None

    return find


def _refuse_several_descriptions(root: Path) -> None:
    naming = naming_files(root)
    if len(naming) > 1:
        raise ValueError(
            f"{root} holds several descriptions of YOLO data sets; give the path of one:"
            f" {', '.join(str(path) for path in naming)}"
        )


def _nearest_existing(path: Path) -> str:
    above = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    return "" if above is None else f"; {above} holds {_contents(above)}"


def _contents(folder: Path, limit: int = 12) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more or "nothing"
