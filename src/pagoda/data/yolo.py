"""YOLO folders: one text file per picture, a line per object, shares of the picture's size."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import NO_BOX, NO_SIZE, ImageColumns, ObjectColumns
from pagoda.data.category_ids import find_labels, plain_name
from pagoda.data.complaints import Complaints
from pagoda.data.packed_keypoints import PackedKeypoints
from pagoda.data.reading import Reading
from pagoda.data.splits import choose_split, with_common_names
from pagoda.data.yolo_labels import LabelLines, in_pixels, parse_box, read_lines
from pagoda.data.yolo_pose import pose_in_pixels, read_pose
from pagoda.pictures import EXTENSIONS, PictureError, picture_size
from pagoda.structures.labels import LabelMap
from pagoda.text_files import as_whole, read_text, read_yaml

SPLITS = ("train", "val", "valid", "validation", "test")
UNKNOWN_SIDE = 640
"""Pixels a side is taken to have, for the doctor's eyes, where the picture of a label file cannot be read"""


def read_yolo(root: str | Path, split: str, *, boxes_only: bool = False) -> Annotations:
    """The pictures of a split and the objects their label files list.

    A line is `class cx cy width height`, or `class x1 y1 x2 y2 x3 y3 …` (a polygon: the mask, and its box), or with
    kpt_shape in the YAML file a box and its keypoints, all as shares 0 … 1 of the upright picture. No file, or an
    empty one, is a picture without objects. Category ids are the numbers in the files, 0 … n-1; images are
    numbered 1 … n in the order they are found. With `boxes_only` masks and keypoints are not read. Raises ValueError
    or FileNotFoundError with everything that cannot be read.
    """
    root = Path(root)
    places = choose_split(yolo_splits(root), split, str(root))
    return YoloFolder(root).read(places, f"{root} ({split})", boxes_only=boxes_only).annotations()


class YoloFolder:
    """What the splits of a folder share: classes, skeleton, and what was complained of already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._complaints = Complaints(str(root))
        description = read_description(root)
        self._label_map = read_classes(root, description, self._complaints)
        self._skeleton, self._num_values = read_pose(root, description, self._complaints)
        self._has_poses = description.get("kpt_shape") is not None
        self._told: set[Path] = set()

    def read(self, places: tuple[Path, ...], source: str, *, boxes_only: bool = False) -> Reading:
        """One split. What concerns the whole folder is complained of in the first one read."""
        complaints = Complaints(source)
        complaints.extend(self._complaints)
        self._complaints = Complaints()
        try:
            pictures = split_pictures(places)
        except FileNotFoundError as error:
            complaints.add("no_pictures", str(error))
            return Reading(source, self.root, complaints, self._label_map, word="line")
        label_files = [label_file_of(picture) for picture in pictures]
        _check_label_files(pictures, label_files, source, complaints, self._told)
        common = Path(os.path.commonpath([picture.parent for picture in pictures]))
        images = ImageColumns(ids=range(1, len(pictures) + 1))
        lines = LabelLines()
        for picture, label_file in zip(pictures, label_files, strict=True):
            images.files.append(picture.relative_to(common).as_posix())
            images.sizes.append(_size_of(picture, complaints))
            self._read_labels(len(images.files) - 1, label_file, images.sizes[-1], lines, complaints)

        def place(row: int) -> str:
            return f"{label_files[lines.owners[row]]}, line {lines.numbers[row]}"

        objects = ObjectColumns(
            owners=np.array(lines.owners, np.int64),
            boxes_xywh=np.array(lines.boxes, np.float64).reshape(-1, 4),
            labels=np.array(find_labels(lines.classes, self._label_map, source, complaints, place), np.int32),
            ignored=np.zeros(len(lines.boxes), bool),
            numbers=np.array(lines.numbers, np.int32),
        )
        label_map = self._label_map
        if not boxes_only:
            objects.masks = lines.masks()
            if self._skeleton is not None:
                label_map = replace(label_map, skeleton=self._skeleton)
                objects.keypoints = PackedKeypoints.pack(lines.poses, len(self._skeleton))
        return Reading(source, common, complaints, label_map, images, objects, word="line")

    def _read_labels(
        self, owner: int, path: Path, size: tuple[int, int], lines: LabelLines, complaints: Complaints
    ) -> None:
        height, width = size if size != NO_SIZE else (UNKNOWN_SIDE, UNKNOWN_SIDE)
        for number, category, values in read_lines(path, complaints):
            where = f"{path}, line {number}"
            try:
                x, y, w, h = parse_box(values, self._has_poses, where)
            except ValueError as error:
                complaints.add("malformed_boxes", str(error))
                lines.add(owner, number, category, NO_BOX, [], None)
                continue
            is_polygon = len(values) > 4 and not self._has_poses
            polygon = [in_pixels(values, width, height)] if is_polygon and np.isfinite(values).all() else []
            pose = self._read_pose(values[4:], (width, height), where, complaints)
            lines.add(owner, number, category, (x * width, y * height, w * width, h * height), polygon, pose)

    def _read_pose(
        self, values: list[float], size_wh: tuple[int, int], where: str, complaints: Complaints
    ) -> list[float] | None:
        if self._skeleton is None:
            return None
        try:
            return pose_in_pixels(values, len(self._skeleton), self._num_values, size_wh, where)
        except ValueError as error:
            complaints.add("malformed_keypoints", str(error))
            return None


def _size_of(picture: Path, complaints: Complaints) -> tuple[int, int]:
    try:
        return picture_size(picture)
    except (PictureError, OSError) as error:
        complaints.add("unknown_sizes", str(error))
        return NO_SIZE


def yolo_splits(root: str | Path) -> dict[str, tuple[Path, ...]]:
    """Split name → picture folders and list files; a folder without splits counts as train."""
    root = Path(root)
    description = read_description(root)
    found = {name: _places(root, description, name) for name in SPLITS if description.get(name)}
    if not found:
        pairs = ((name, (root / "images" / name, root / name / "images")) for name in SPLITS)
        found = {name: existing for name, both in pairs if (existing := tuple(p for p in both if p.is_dir()))}
    if not found and (root / "images").is_dir():
        found = {"train": (root / "images",)}
    return with_common_names(found)


def description_file(root: Path) -> Path | None:
    """data.yaml, or the one YAML file of the folder that names classes."""
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    files = [path for pattern in ("*.yaml", "*.yml") for path in sorted(root.glob(pattern))]
    naming = [path for path in files if "names" in _load_yaml(path)]
    return naming[0] if len(naming) == 1 else None


def read_description(root: Path) -> dict:
    """The contents of the YAML file, {} where there is none."""
    path = description_file(root)
    return {} if path is None else _load_yaml(path)


def _load_yaml(path: Path) -> dict:
    return read_yaml(path, as_text=("names", "kpt_names"))


def read_classes(root: Path, description: dict, complaints: Complaints) -> LabelMap:
    """The classes of data.yaml or classes.txt, numbered from 0; none where they are bad."""
    names = description.get("names")
    if isinstance(names, dict):
        by_number = {as_whole(number): name for number, name in names.items()}
        if set(by_number) != set(range(len(names))):
            place = f"{root}: names must be numbered 0 … {len(names) - 1}, got {list(names)}"
            complaints.add("bad_categories", place[:200])
            return LabelMap((), ())
        names = [by_number[number] for number in range(len(names))]
    if not names:
        names = _listed_names(root, complaints)
    if not isinstance(names, list):
        complaints.add("bad_categories", f"{root}: names must be a list, got {str(names)[:60]}")
        return LabelMap((), ())
    plain = [plain_name(name, str(number), str(root), complaints) for number, name in enumerate(names)]
    if None in plain:
        complaints.add(
            "bad_categories", f"{root}: class {plain.index(None)} is {str(names)[:60]}, which is no name"
        )
        return LabelMap((), ())
    try:
        return LabelMap(tuple(plain), tuple(range(len(plain))))  # type: ignore[arg-type]
    except ValueError as error:
        complaints.add("bad_categories", f"{root}: {error}")
        return LabelMap((), ())


def _listed_names(root: Path, complaints: Complaints) -> list[str]:
    listed = [path for path in (root / "classes.txt", root / "labels" / "classes.txt") if path.is_file()]
    if not listed:
        complaints.add("bad_categories", f"{root}: no class names; expected them in data.yaml or classes.txt")
        return []
    try:
        return [line.strip() for line in read_text(listed[0]).splitlines() if line.strip()]
    except (ValueError, OSError) as error:
        complaints.add("bad_categories", str(error))
        return []


def _places(root: Path, description: dict, split: str) -> tuple[Path, ...]:
    """The folders or list files of a split. Exports often write ../train/images and mean train/images."""
    entries = description[split] if isinstance(description[split], list) else [description[split]]
    base = root / str(description.get("path") or "")
    places = []
    for entry in map(str, entries):
        inner = entry.removeprefix("../").removeprefix("./")
        candidates = [folder / name for folder in (base, root) for name in (entry, inner)]
        existing = [path for path in candidates if path.exists()]
        if not existing:
            raise FileNotFoundError(
                f"{description_file(root)} names '{entry}' for {split}, but there is no such folder or file;"
                f" looked for {', '.join(str(path) for path in dict.fromkeys(candidates))}"
            )
        places.append(existing[0].resolve())
    return tuple(places)


def split_pictures(places: tuple[Path, ...]) -> list[Path]:
    """All pictures in the folders and list files of a split; FileNotFoundError where there are none."""
    pictures: list[Path] = []
    for place in places:
        if place.is_dir():
            pictures += sorted(p.resolve() for p in place.rglob("*") if p.suffix.lower() in EXTENSIONS)
        else:
            lines = read_text(place).splitlines()
            pictures += [(place.parent / line.strip()).resolve() for line in lines if line.strip()]
    if not pictures:
        raise FileNotFoundError(f"no pictures in {', '.join(str(place) for place in places)}")
    return pictures


def label_file_of(picture: Path) -> Path:
    """…/images/a/b.jpg → …/labels/a/b.txt by the last folder called images; else beside the picture."""
    parts = list(picture.with_suffix(".txt").parts)
    where = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if where:
        parts[where[-1]] = "labels"
    return Path(*parts)


def _check_label_files(
    pictures: list[Path], label_files: list[Path], source: str, complaints: Complaints, told: set[Path]
) -> None:
    """Complains of label files that belong to no picture, once each, and where no picture has any."""
    if not any(path.is_file() for path in label_files):
        place = (
            f"{source}: none of {len(label_files)} pictures has labels; the first should be {label_files[0]}"
        )
        complaints.add("no_labels", place)
        return
    for labels, folder in sorted({(a.parent, b.parent) for a, b in zip(label_files, pictures, strict=True)}):
        if labels == folder or not folder.is_dir():
            continue  # beside pictures lie lists and notes too, so a lone text file says nothing
        stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS} | {"classes"}
        for path in sorted(
            path for path in labels.glob("*.txt") if path.stem not in stems and path not in told
        ):
            complaints.add("lone_labels", f"{path}: no picture in {folder} belongs to these labels")
            told.add(path)
