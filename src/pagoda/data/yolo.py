"""YOLO folders: one text file per picture, a line per object, shares of the picture's size."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.packed_keypoints import PackedKeypoints
from pagoda.data.packed_masks import NO_PIXELS, PackedMasks
from pagoda.data.splits import choose_split
from pagoda.data.yolo_layout import (
    contradicting_count,
    find_splits,
    folder_of,
    label_file_of,
    read_classes,
    read_description,
    split_pictures,
)
from pagoda.data.yolo_pose import pose_in_pixels, read_pose, refuse_unsaid_keypoints
from pagoda.pictures import EXTENSIONS, picture_size
from pagoda.text_files import read_text


def read_yolo(root: str | Path, split: str, *, boxes_only: bool = False) -> Annotations:
    """The pictures of a split and the objects their label files list.

    A line is `class cx cy width height`, or `class x1 y1 x2 y2 x3 y3 …` (a polygon: the mask, and its box), or with
    kpt_shape in the YAML file a box and its keypoints, all as shares 0 … 1 of the upright picture. No file, or an
    empty one, is a picture without objects. Category ids are the numbers in the files, 0 … n-1; images are
    numbered 1 … n in the order they are found. With `boxes_only` masks and keypoints are not read. `root` may also
    be the YAML or .data file that describes the data set.
    """
    root = Path(root)
    description = read_description(root)
    label_map = read_classes(root, description)
    skeleton, num_values = read_pose(root, description)
    found = find_splits(root)
    notes = [*found.notes, *contradicting_count(root, description, label_map)]
    pictures = split_pictures(
        choose_split(found.places, split, str(root), found.absent), folder_of(root), notes
    )
    label_files = [label_file_of(picture) for picture in pictures]
    source = f"{root} ({split})"
    notes += _check_label_files(pictures, label_files, source)
    common = Path(os.path.commonpath([picture.parent for picture in pictures]))
    images, objects = ImageColumns(ids=list(range(1, len(pictures) + 1))), ObjectColumns()
    polygons: list[list[list[float]]] = []
    poses: list[list[float]] = []
    for index, (picture, label_file) in enumerate(zip(pictures, label_files, strict=True)):
        images.files.append(picture.relative_to(common).as_posix())
        height, width = picture_size(picture)
        images.sizes.append((height, width))
        for label, values, where in _objects(label_file, len(label_map)):
            x, y, w, h = parse_box(values, skeleton is not None, where)
            objects.add(index, (x * width, y * height, w * width, h * height), label, False)
            is_polygon = len(values) > 4 and skeleton is None
            polygons.append([_in_pixels(values, width, height)] if is_polygon else [])
            if skeleton is not None:
                poses.append(pose_in_pixels(values[4:], len(skeleton), num_values, (width, height), where))
    if not boxes_only:
        objects.masks = PackedMasks.pack(polygons, [NO_PIXELS] * len(polygons)) if any(polygons) else None
        if skeleton is not None:
            label_map = replace(label_map, skeleton=skeleton)
            objects.keypoints = PackedKeypoints.pack(poses, len(skeleton))
    return assemble(images, objects, label_map=label_map, root=common, source=source, notes=notes)


def _in_pixels(shares: list[float], width: int, height: int) -> list[float]:
    return (np.reshape(shares, (-1, 2)) * (width, height)).flatten().tolist()


def _check_label_files(pictures: list[Path], label_files: list[Path], source: str) -> list[str]:
    """Notes on label files that belong to no picture; an error where no picture has any."""
    if not any(path.is_file() for path in label_files):
        raise FileNotFoundError(
            f"{source}: none of {len(label_files)} pictures has labels; the first should be {label_files[0]}"
        )
    notes = []
    for labels, folder in sorted({(a.parent, b.parent) for a, b in zip(label_files, pictures, strict=True)}):
        if labels == folder:
            continue  # beside pictures lie lists and notes too, so a lone text file says nothing
        stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS} | {"classes"}
        lone = sorted(path for path in labels.glob("*.txt") if path.stem not in stems)
        notes += [f"{path}: no picture in {folder} belongs to these labels" for path in lone]
    return notes


def _objects(path: Path, num_classes: int) -> Iterator[tuple[int, list[float], str]]:
    """Label, the numbers after it and their place, line by line."""
    if not path.is_file():
        return
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected numbers, got '{line.strip()}'") from error
        if not values[0].is_integer() or not 0 <= values[0] < num_classes:
            raise ValueError(f"{path}, line {number}: class {values[0]:g} is not in 0 … {num_classes - 1}")
        yield int(values[0]), values[1:], f"{path}, line {number}"


def parse_box(values: list[float], has_keypoints: bool, where: str) -> tuple[float, float, float, float]:
    """(x, y, width, height) as shares of the picture from what follows the class; ValueError with `where`."""
    if not has_keypoints:
        refuse_unsaid_keypoints(values, where)
    is_polygon = len(values) >= 6 and len(values) % 2 == 0 and not has_keypoints
    if not is_polygon and len(values) != 4 and not (has_keypoints and len(values) > 4):
        raise ValueError(
            f"{where}: expected class cx cy width height, or class and at least three points,"
            f" got {len(values) + 1} numbers"
        )
    coordinates = values if is_polygon else values[:4]
    if max(coordinates) > 2:
        raise ValueError(
            f"{where}: expected shares of the picture, 0 … 1, got {max(coordinates):g} (pixels?)"
        )
    if is_polygon:
        points = np.array(coordinates).reshape(-1, 2)
        return (*points.min(0).tolist(), *np.ptp(points, axis=0).tolist())
    x, y, width, height = coordinates
    return x - width / 2, y - height / 2, width, height
