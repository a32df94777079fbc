"""YOLO folders: one text file per picture, a line per object, shares of the picture's size."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagoda.data.formats.yolo.labels import LabelLines, in_pixels, parse_box, read_lines
from pagoda.data.formats.yolo.layout import (
    contradicting_count,
    data_folder,
    find_splits,
    folder_of,
    label_file_of,
    names_files,
    read_classes,
    read_description,
    split_pictures,
)
from pagoda.data.formats.yolo.pose import pose_in_pixels, read_pose
from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.category_ids import find_labels
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.found import Reading, size_of_file
from pagoda.data.reading.outside import complain_of_outside
from pagoda.data.reading.splits import choose_split
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import NO_BOX, NO_SIZE, ImageColumns, ObjectColumns
from pagoda.data.table.keypoints import PackedKeypoints
from pagoda.messages import counted
from pagoda.pictures.read import is_picture, other_files, other_files_words

UNKNOWN_SIDE = 640
"""Pixels a side is taken to have, for the doctor's eyes, where the picture of a label file cannot be read"""


def read_yolo(root: str | Path, split: str, *, boxes_only: bool = False) -> Annotations:
    """The pictures of a split and the objects their label files list.

    A line is `class cx cy width height`, or `class x1 y1 x2 y2 x3 y3 …` (a polygon: the mask, and its box), or with
    kpt_shape in the YAML file a box and its keypoints, all as shares 0 … 1 of the upright picture. No file, or an
    empty one, is a picture without objects. Category ids are the numbers in the files, 0 … n-1; images are
    numbered 1 … n in the order they are found. With `boxes_only` masks and keypoints are not read. `root` may also
    be the YAML or .data file that describes the data set. Raises ValueError or FileNotFoundError with everything
    that cannot be read.
    """
    folder = YoloFolder(Path(root))
    places = choose_split(folder.splits.places, split, str(root), folder.splits.absent)
    return folder.read(places, f"{root} ({split})", boxes_only=boxes_only).annotations()


class YoloFolder:
    """What the splits of a data set share: classes, skeleton, and what was complained of already.

    `root`: the folder, or the YAML or .data file that describes it. `within`: the folder in which lists, pictures and
    label files must lie; what does not is refused before it is opened.
    """

    def __init__(self, root: Path, *, within: Path | None = None) -> None:
        self.root = root
        self._within = within
        self.splits = find_splits(root)
        self._complaints = Complaints(str(root))
        description = read_description(root)
        self._label_map = read_classes(root, description, self._complaints)
        self._skeleton, self._num_values = read_pose(root, description, self._complaints)
        self._data_folder = data_folder(root, description)
        if within is not None and not self._data_folder.resolve().is_relative_to(within.resolve()):
            self._data_folder = folder_of(root)
        self._has_poses = description.get("kpt_shape") is not None
        self._told: set[Path] = set()
        for line in self.splits.notes:
            self._complaints.add("read_otherwise", line)
        for line in contradicting_count(root, description, self._label_map):
            self._complaints.add("contradicting_counts", line)

    def read(self, places: tuple[Path, ...], source: str, *, boxes_only: bool = False) -> Reading:
        """One split as a `Reading`; what concerns the whole folder is complained of in the first one read."""
        complaints = Complaints(source)
        complaints.extend(self._complaints)
        self._complaints = Complaints()
        unread = Reading(source, folder_of(self.root), complaints, self._label_map, word="line")
        remarks: list[str] = []
        if self._refuses([*places, *names_files(self.root)], source, complaints):
            return unread
        try:
            pictures = split_pictures(places, self._data_folder, remarks)
        except (ValueError, OSError) as error:
            is_missing = isinstance(error, FileNotFoundError)
            complaints.add("no_pictures" if is_missing else "unreadable_annotations", str(error))
            return unread
        for remark in remarks:
            complaints.add("read_otherwise", remark)
        if others := other_files(sorted({picture.parent for picture in pictures})):
            complaints.add("other_files", other_files_words(others), len(others))
        label_files = [label_file_of(picture) for picture in pictures]
        if self._refuses([*pictures, *label_files], source, complaints):
            return unread
        _check_label_files(pictures, label_files, source, complaints, self._told)
        common = Path(os.path.commonpath([picture.parent for picture in pictures]))
        images = ImageColumns(ids=range(1, len(pictures) + 1))
        lines = LabelLines()
        for picture, label_file in zip(pictures, label_files, strict=True):
            images.files.append(picture.relative_to(common).as_posix())
            images.sizes.append(size_of_file(picture.parent, picture.name, "", source, complaints))
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

    def _refuses(self, paths: Sequence[Path], source: str, complaints: Complaints) -> bool:
        if self._within is None:
            return False
        complain_of_outside(paths, self._within, source, complaints, refuse=True)
        return "pictures_refused" in complaints

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


def _shared(pictures: list[Path], label_files: list[Path]) -> list[tuple[Path, list[str]]]:
    """The label files that are there of several pictures, and the names of these."""
    owners: dict[Path, list[str]] = {}
    for picture, label_file in zip(pictures, label_files, strict=True):
        owners.setdefault(label_file, []).append(picture.name)
    return [(path, names) for path, names in owners.items() if len(names) > 1 and path.is_file()]


def _check_label_files(
    pictures: list[Path], label_files: list[Path], source: str, complaints: Complaints, told: set[Path]
) -> None:
    """Complains of label files that belong to no picture, once each, and where no picture has any."""
    if not any(path.is_file() for path in label_files):
        pictures_words = counted(len(label_files), "picture")
        place = f"{source}: none of {pictures_words} has labels; the first should be {label_files[0]}"
        complaints.add("no_labels", place)
        return
    for label_file, names in _shared(pictures, label_files):
        complaints.add("shared_labels", f"{label_file} belongs to {' and '.join(names)}", len(names) - 1)
    for labels, folder in sorted({(a.parent, b.parent) for a, b in zip(label_files, pictures, strict=True)}):
        if labels == folder or not folder.is_dir():
            continue  # beside pictures lie lists and notes too, so a lone text file says nothing
        stems = {path.stem for path in folder.iterdir() if is_picture(path)} | {"classes"}
        for path in sorted(
            path for path in files_like(labels, "*.txt") if path.stem not in stems and path not in told
        ):
            complaints.add("lone_labels", f"{path}: no picture in {folder} belongs to these labels")
            told.add(path)
