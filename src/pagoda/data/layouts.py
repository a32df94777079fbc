"""Which kind of data set a folder is, which splits it has, and where its pictures are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import concatenate
from pagoda.data.coco import from_coco_dict, load_coco
from pagoda.data.labelme import labelme_document, labelme_splits
from pagoda.data.splits import choose_split, common_name, with_common_names
from pagoda.data.voc import read_voc, voc_splits
from pagoda.data.yolo import description_file, read_yolo, yolo_splits
from pagoda.plain import checked

KNOWN = (
    "COCO (annotations/train.json, annotations/instances_train2017.json or train/_annotations.coco.json),"
    " VOC (Annotations/*.xml), YOLO (data.yaml or classes.txt with labels/*.txt) or LabelMe (a JSON file with shapes"
    " beside each picture)"
)
OTHER_COCO_FILES = ("captions_", "image_info_", "panoptic_", "stuff_")
"""Files COCO keeps beside the boxes; person_keypoints_ files count only where nothing else is there."""

KIND_NAMES = {"coco": "COCO", "voc": "VOC", "yolo": "YOLO", "labelme": "LabelMe"}
VOC_FOLDERS = ("voc", "VOC20??", "VOCdevkit/VOC20??", "VOCdevkit")


@checked
@dataclass(frozen=True)
class Layout:
    """A data set found on disk."""

    kind: Literal["coco", "voc", "yolo", "labelme"]
    root: Path
    splits: dict[str, tuple[Path, ...]]
    """Split name → what is read for it: JSON files, list files or picture folders"""
    others: tuple[tuple[str, Path], ...] = ()
    """Further kinds the folder also holds, which are not read"""

    def describe(self) -> str:
        """One line on what is read, one more for each other kind that is there too."""
        splits = (f"{name} ({', '.join(map(self._short, what))})" for name, what in self.splits.items())
        name = KIND_NAMES[self.kind]
        lines = [f"{name} data set in {self.root}: {', '.join(splits)}"]
        for kind, root in self.others:
            lines.append(f"{root} is also a {KIND_NAMES[kind]} data set; {name} is read first")
        for path in sorted((self.root / "annotations").glob("person_keypoints_*.json")):
            if self.kind == "coco" and (path,) not in self.splits.values():
                lines.append(f"keypoints stand in {self._short(path)}: choose split '{path.stem}'")
        return "\n".join(lines)

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def find_dataset(path: str | Path) -> Layout:
    """The layout at `path`: a folder, a COCO JSON file or a YOLO data.yaml. COCO comes before VOC and YOLO.

    Raises FileNotFoundError where nothing is there, ValueError where it is no layout we know.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _from_file(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}{_nearest_existing(path)}")
    found = [layout for layout in (_find_coco(path), _find_voc(path), _find_yolo(path)) if layout is not None]
    if not found and (labelme := labelme_splits(path)):  # last, for it must look into files
        return Layout("labelme", path, labelme)
    if not found:
        raise ValueError(f"{path} is no data set we know: looked for {KNOWN}; found {_contents(path)}")
    return replace(found[0], others=tuple((other.kind, other.root) for other in found[1:]))


def open_annotations(
    path: str | Path, split: str | None = None, *, skip_missing: bool = False, boxes_only: bool = False
) -> Annotations:
    """The annotations of one split, or of several as "train+val".

    `split` None is train where there is one, else the only split; for a COCO folder it may also be the name of a
    file in annotations/, as person_keypoints_train2017. Pictures that are not on disk stop the reading, or with
    `skip_missing` are left out and noted. With `boxes_only` masks and keypoints are not read.
    """
    layout = find_dataset(path)
    if split is None:
        split = "train" if "train" in layout.splits or len(layout.splits) != 1 else next(iter(layout.splits))
    # A split may itself be called "a+b"; only a name that is unknown as a whole is taken apart.
    names = [split] if split in layout.splits else split.split("+")
    parts = [_check_pictures(_read(layout, name.strip(), boxes_only), skip_missing) for name in names]
    return parts[0] if len(parts) == 1 else concatenate(parts)


def _read(layout: Layout, split: str, boxes_only: bool) -> Annotations:
    named = layout.root / "annotations" / f"{split}.json"
    if layout.kind == "coco" and split not in layout.splits and named.is_file():
        return _read_coco(layout.root, named, _coco_split(named), boxes_only)
    what = choose_split(layout.splits, split, str(layout.root))
    if layout.kind == "yolo":
        return read_yolo(layout.root, split, boxes_only=boxes_only)
    if layout.kind == "voc":
        return read_voc(layout.root, what[0].stem if what[0].suffix == ".txt" else None)
    if layout.kind == "labelme":
        notes: list[str] = []
        document = labelme_document(layout.root, what[0], notes)
        annotations = from_coco_dict(document, what[0], str(what[0]), boxes_only=boxes_only)
        return replace(annotations, notes=(*notes, *annotations.notes))
    return _read_coco(layout.root, what[0], split, boxes_only)


def _read_coco(root: Path, json_path: Path, split: str, boxes_only: bool) -> Annotations:
    document = load_coco(json_path)
    names = [entry.get("file_name", "") for entry in document["images"]]
    pictures = _coco_pictures(root, json_path, split, names)
    return from_coco_dict(document, pictures, str(json_path), boxes_only=boxes_only)


def _from_file(path: Path) -> Layout:
    if path.suffix == ".json":
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        return Layout("coco", root, {_coco_split(path): (path,)})
    if path.suffix in (".yaml", ".yml") and description_file(path.parent) == path:
        return Layout("yolo", path.parent, yolo_splits(path.parent))
    raise ValueError(f"{path} is a file, but no COCO JSON and no YOLO data.yaml; expected a folder: {KNOWN}")


def _coco_split(path: Path) -> str:
    return re.sub(r"^(instances|person_keypoints)_", "", path.stem)


def _find_coco(root: Path) -> Layout | None:
    files = sorted((root / "annotations").glob("*.json"))
    files = [path for path in files if not path.name.startswith(OTHER_COCO_FILES)]
    boxes = [path for path in files if not path.name.startswith("person_keypoints_")]
    splits = {_coco_split(path): (path,) for path in boxes or files}
    if not splits:
        splits = {path.parent.name: (path,) for path in sorted(root.glob("*/_annotations.coco.json"))}
    return Layout("coco", root, with_common_names(splits)) if splits else None


def _find_voc(root: Path) -> Layout | None:
    folders = [root, *(folder for pattern in VOC_FOLDERS for folder in sorted(root.glob(pattern)))]
    places = [folder for folder in folders if next((folder / "Annotations").glob("*.xml"), None)]
    if len(places) > 1:
        raise ValueError(f"{root} holds several VOC data sets; give one of {', '.join(map(str, places))}")
    if not places:
        return None
    splits: dict[str, tuple[Path, ...]] = {name: (path,) for name, path in voc_splits(places[0]).items()}
    return Layout("voc", places[0], splits or {"train": (places[0] / "Annotations",)})


def _find_yolo(root: Path) -> Layout | None:
    has_names = (root / "classes.txt").is_file() or (root / "labels" / "classes.txt").is_file()
    if description_file(root) is None and not has_names:
        return None
    splits = yolo_splits(root)
    return Layout("yolo", root, splits) if splits else None


def _coco_pictures(root: Path, json_path: Path, split: str, names: list[str]) -> Path:
    """The folder in which most of the first pictures lie; some may be missing. The likeliest of equals."""
    candidates = list(dict.fromkeys(picture_folders(root, json_path, split)))
    for few in (names[:5], names):
        counts = [sum((folder / name).is_file() for name in few) for folder in candidates]
        if any(counts):
            return candidates[counts.index(max(counts))]
    if not names:
        return root
    raise FileNotFoundError(
        f"{json_path}: none of its {len(names)} pictures is where one is looked for; put {names[0]} and the"
        f" others into one of {', '.join(str(folder) for folder in candidates)}"
    )


def picture_folders(root: Path, json_path: Path, split: str) -> Iterator[Path]:
    """Where the pictures of a COCO file may lie, likeliest first."""
    written = _coco_split(json_path)
    names = dict.fromkeys((written, common_name(written), split, f"{common_name(written)}2017"))
    yield root / "images"
    for name in names:
        yield from (root / "images" / name, root / name, root / name / "images")
    yield from (json_path.parent, root)


def _check_pictures(annotations: Annotations, skip_missing: bool) -> Annotations:
    """Every picture is on disk; looked up by listing each folder once."""
    files = list(annotations.files)
    folders = {(annotations.root / file).parent for file in files}
    stored = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    missing = [index for index, file in enumerate(files) if annotations.root / file not in stored]
    if not missing:
        return annotations
    if len(missing) == len(files) or not skip_missing:
        raise FileNotFoundError(
            f"{annotations.source}: {len(missing)} of {len(files)} pictures are not in {annotations.root},"
            f" the first is {files[missing[0]]}; add them, or leave them out with skip_missing=True"
        )
    notes = [f"{annotations.source}: there is no picture {files[index]}; it is left out" for index in missing]
    kept = annotations.subset(sorted(set(range(len(files))).difference(missing)))
    return replace(kept, notes=(*kept.notes, *notes))


def _nearest_existing(path: Path) -> str:
    above = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    return "" if above is None else f"; {above} holds {_contents(above)}"


def _contents(folder: Path, limit: int = 12) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more or "nothing"
