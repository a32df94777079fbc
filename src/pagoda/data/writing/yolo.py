"""YOLO written: data.yaml, a text file per picture in labels/<split>/, the pictures in images/<split>/."""

from pathlib import Path

import numpy as np
import yaml

from pagoda.data.formats.yolo.layout import label_file_of
from pagoda.data.formats.yolo.pose import refuse_unsaid_keypoints
from pagoda.data.table.annotations import Annotations
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.mask_outlines import shares_of
from pagoda.plain import JsonObject

SPLIT_ORDER = ("train", "val", "test")


def write_yolo_files(contents: Contents, folder: Path) -> None:
    """Shares of the picture: boxes with twelve digits, or with keypoints boxes and these, or polygons where there is a
    mask, with all digits, for on them depends which pixels are drawn."""
    labels = contents.label_map
    description: JsonObject = {
        split: f"images/{split}" for split in sorted(contents.splits, key=SPLIT_ORDER.index)
    }
    description |= {"nc": len(labels), "names": dict(enumerate(labels.names))}
    skeleton = labels.skeleton
    if skeleton is not None:
        description["kpt_shape"] = [len(skeleton), 3]
        if skeleton.flip_pairs is not None:
            order = list(range(len(skeleton)))
            for a, b in skeleton.flip_pairs:
                order[a], order[b] = b, a
            description["flip_idx"] = order
        description["kpt_names"] = {number: list(skeleton.names) for number in range(len(labels))}
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=10_000)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    for split, table in contents.splits.items():
        (folder / "labels" / split).mkdir(parents=True)
        for index, file in enumerate(table.files):
            place = folder / label_file_of(Path("images") / split / file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(_lines(table, index, has_poses=skeleton is not None), encoding="utf-8")


def _lines(table: Annotations, index: int, *, has_poses: bool) -> str:
    size_wh = table.sizes[index][::-1].astype(np.float64)
    lines = []
    for row in range(table.offsets[index], table.offsets[index + 1]):
        polygons = [] if table.masks is None else table.masks.polygons(row)
        if polygons:
            values = _told_polygon(
                shares_of(polygons[0], (int(size_wh[1]), int(size_wh[0]))).ravel().tolist()
            )
        else:
            x, y, w, h = (table.boxes_xywh[row] / np.tile(size_wh, 2)).tolist()
            values = [x + w / 2, y + h / 2, w, h]
        if has_poses:
            values += _pose(table, row, size_wh)
        words = map(repr, values) if polygons else (f"{value:.12g}" for value in values)
        lines.append(" ".join([str(int(table.labels[row])), *words]))
    return "".join(f"{line}\n" for line in lines)


def _pose(table: Annotations, row: int, size_wh: np.ndarray) -> list[float]:
    """x, y, visibility of each keypoint; zeros for those that are not labelled."""
    skeleton = table.label_map.skeleton
    assert skeleton is not None
    if table.keypoints is None:
        return [0.0] * (3 * len(skeleton))
    triples = table.keypoints.dense(np.array([row]))[0]
    triples[:, :2] /= size_wh
    triples[triples[:, 2] == 0] = 0
    return triples.ravel().tolist()


def _told_polygon(shares: list[float]) -> list[float]:
    """The polygon, with its last corner once more where its numbers could be taken for a box and keypoints."""
    try:
        refuse_unsaid_keypoints(shares, "")
    except ValueError:
        return [*shares, *shares[-2:]]
    return shares
