"""Generated data sets through every format, and every pair of formats: what comes back is what was promised."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_sets import (
    CLOSE,
    counts_of,
    documents,
    draw_set,
    keypoint_names,
    masks,
    poses,
    same,
    sorted_classes,
)
from hypothesis import HealthCheck, given, settings
from scipy import ndimage

from pagoda.data.writing.contents import Contents, open_contents
from pagoda.data.writing.folder import plan, write_dataset
from pagoda.data.writing.holding import OF_VIDEOS, PROPERTIES, TITLES
from pagoda.data.writing.losses import STEPS

OF_PICTURES = [name for name in TITLES if name not in OF_VIDEOS]
CHANGES_BOXES = ("thin", "beyond", "boxes_of_outlines")


def test_every_property_that_is_lost_somewhere_is_counted() -> None:
    lost = [each.key for each in PROPERTIES if any(name in each.becomes for name in OF_PICTURES)]
    assert list(STEPS) == lost
    assert not any(
        "coco" in each.becomes for each in PROPERTIES if each.key not in ("split_names", "picture_names")
    )


def through(contents: Contents, name: str, folder: Path) -> tuple[Contents, Counter] | None:
    """What comes back of a data set from a format and the losses that were told; None where it cannot be written."""
    try:
        planned = plan(contents, name)
    except ValueError as error:
        assert "no objects" in str(error) and name in ("voc", "labelme")
        return None
    write_dataset(planned, folder)
    back = open_contents(folder)
    same(planned.held, back)
    return back, counts_of(planned.losses)


def check_every_pair(document: dict[str, dict[str, Any]]) -> int:
    """The number of data sets that were written and read again."""
    folder, written = Path(tempfile.mkdtemp()), 0
    try:
        source = open_contents(draw_set(document, folder / "source"))
        for first in OF_PICTURES:
            if (found := through(source, first, folder / first)) is None:
                continue
            back, losses = found
            check_losses(source, back, losses, first)
            written += 1
            for second in OF_PICTURES:
                if (again := through(back, second, folder / f"{first}-{second}")) is None:
                    continue
                check_losses(back, again[0], again[1], second)
                written += 1
        return written
    finally:
        shutil.rmtree(folder)


def check_losses(before: Contents, after: Contents, losses: Counter, name: str) -> None:
    """What differs between two data sets, looked for object by object, is what was reported: no more and no less."""
    found: Counter = Counter()
    keypoints = keypoint_names(before)
    names = [(table, after_of(after, split)) for split, table in before.splits.items()]
    assert losses["split_names"] == sum(split not in after.splits for split in before.splits)
    for (table, other), (split, pictures) in zip(names, before.pictures.items(), strict=True):
        by_bytes = {path.read_bytes(): k for k, path in enumerate(pictures_of(after, split))}
        shapes, other_shapes = masks(table), masks(other)
        points, other_points = poses(table, keypoints), poses(other, keypoints)
        for index, path in enumerate(pictures):
            there = by_bytes[path.read_bytes()]
            found["picture_ids"] += table.image_id(index) != other.image_id(there)
            rows = [
                row
                for row in range(table.offsets[index], table.offsets[index + 1])
                if survives(table, row, index, name, found)
            ]
            others = range(other.offsets[there], other.offsets[there + 1])
            for row, twin in zip(rows, others, strict=True):
                a, b = table.label_map.names[table.labels[row]], other.label_map.names[other.labels[twin]]
                assert a == b
                assert table.ignored[row] == other.ignored[twin]
                found["object_ids"] += table.annotation_ids[row] != other.annotation_ids[twin]
                found["boxes"] += bool((np.abs(table.boxes_xywh[row] - other.boxes_xywh[twin]) > CLOSE).any())
                area = table.areas[row]
                found["areas"] += abs(area - other.areas[twin]) > CLOSE * max(1, other.areas[twin])
                compare_poses(points[row], other_points[twin], table.sizes[index], found)
                compare_masks(shapes[row], other_shapes[twin], found)
    check_objects(found, losses, before.kind)
    check_classes(before, after, losses)


def after_of(after: Contents, split: str):
    return after.splits[split if split in after.splits else "train"]


def pictures_of(after: Contents, split: str):
    return after.pictures[split if split in after.pictures else "train"]


def survives(table, row: int, index: int, name: str, found: Counter) -> bool:
    """By the words of the table alone."""
    height, width = table.sizes[index].tolist()
    x, y, w, h = table.boxes_xywh[row].tolist()
    if name == "yolo" and table.ignored[row]:
        found["ignored"] += 1
        return False
    has_area = w > 0 and h > 0
    if name == "yolo":
        has_area &= min(x + w, width) - max(x, 0) > CLOSE and min(y + h, height) - max(y, 0) > CLOSE
    if name != "coco" and not has_area:
        found["no_area"] += 1
        return False
    return True


def compare_poses(before: np.ndarray, after: np.ndarray, size: np.ndarray, found: Counter) -> None:
    was, still = before[:, 2] > 0, after[:, 2] > 0
    beyond = ((before[:, :2] < 0) | (before[:, :2] > size[::-1])).any(1)
    found["keypoints"] += bool((was & ~beyond).any() and not still.any())
    found["keypoints_gone"] += int((was & ~still).sum())
    found["hidden_keypoints"] += int(((before[:, 2] == 1) & (after[:, 2] == 2)).sum())
    both = was & still
    np.testing.assert_allclose(before[both, :2], after[both, :2], rtol=0, atol=CLOSE)
    assert not (still & ~was).any()


def compare_masks(before: tuple[bool, np.ndarray], after: tuple[bool, np.ndarray], found: Counter) -> None:
    (was, mask), (still, other) = before, after
    assert was or not still
    found["masks_gone"] += was and not still
    if was and still:
        filled = ndimage.binary_fill_holes(mask, np.ones((3, 3)))
        found["pixels"] += bool((mask != other).any())
        found["filled"] += bool((filled != mask).any() and (other == filled).all())


def check_objects(found: Counter, losses: Counter, kind: str) -> None:
    for key in ("ignored", "no_area", "hidden_keypoints", "areas"):
        assert found[key] == losses[key], key
    is_numbered = kind == "coco"
    for key in ("picture_ids",):
        assert losses[key] == (found[key] if is_numbered else 0), key
    if not is_numbered or not found["object_ids"]:
        assert losses["object_ids"] == (found["object_ids"] if is_numbered else 0)
    else:
        assert losses["object_ids"] >= 1
    counts = [losses[key] for key in CHANGES_BOXES]
    assert max(counts) <= found["boxes"] <= sum(counts)
    if losses["keypoints"]:
        assert found["keypoints_gone"] >= losses["keypoints"] >= found["keypoints"]
    else:
        assert found["keypoints_gone"] == losses["keypoints_beyond"]
    gone = losses["masks"] + losses["empty_masks"]
    assert gone <= found["masks_gone"] <= gone + losses["outlines_beyond"]
    assert found["pixels"] <= losses["holes"] + losses["outlines_beyond"] + losses["rims"]
    assert losses["holes"] <= found["filled"] + losses["outlines_beyond"]


def check_classes(before: Contents, after: Contents, losses: Counter) -> None:
    numbers, others = dict(sorted_classes(before)), dict(sorted_classes(after))
    assert set(others) <= set(numbers)
    assert losses["unused_classes"] == len(numbers) - len(others)
    if before.kind in ("coco", "yolo"):
        assert losses["class_numbers"] == sum(numbers[name] != number for name, number in others.items())
    is_other = before.label_map.skeleton != after.label_map.skeleton
    assert losses["skeleton"] == is_other


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(documents())
def test_what_comes_back_is_what_was_promised(document: dict[str, dict[str, Any]]) -> None:
    check_every_pair(document)


@pytest.mark.slow
def test_what_comes_back_of_hundreds_of_data_sets_is_what_was_promised() -> None:
    """At least five hundred, each written and read again."""
    written = []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(documents())
    def every(document: dict[str, dict[str, Any]]) -> None:
        written.append(check_every_pair(document))

    every()
    assert sum(written) >= 500


@pytest.mark.medium
@pytest.mark.parametrize("name", ["coco_pose_sample", "coco_tiny", "nuclei", "bccd/voc"])
@pytest.mark.slow
def test_real_data_sets_come_back_as_promised(shared_data: Path, tmp_path: Path, name: str) -> None:
    whole = open_contents(shared_data / name, ("train+val",) if name == "bccd/voc" else ())
    source = whole.taken({split: np.arange(min(4, len(table))) for split, table in whole.splits.items()})
    for first in OF_PICTURES:
        found = through(source, first, tmp_path / first)
        assert found is not None
        check_losses(source, *found, first)
