"""Defects of masks and keypoints, planted one at a time into healthy drawn data."""

import base64
import json
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pagoda.explain.doctor.examine import examine

PICTURE = (96, 128)


def entry(coco):
    return coco.train["annotations"][0]


def shift_mask(coco):
    x, y = entry(coco)["bbox"][:2]
    x, y = (5, 5) if x > 60 or y > 60 else (100, 70)
    entry(coco)["segmentation"] = [[x, y, x + 20, y, x + 20, y + 20, x, y + 20]]


def move_keypoint(x, y):
    def damage(coco):
        entry(coco)["keypoints"][:3] = [x, y, 2]

    return damage


def far_from_the_box(coco):
    x, y, width, height = entry(coco)["bbox"]
    far = x + 2 * width + 40 if x + 2 * width + 40 < PICTURE[1] else x - width - 40
    entry(coco)["keypoints"][:3] = [min(max(far, 0), PICTURE[1]), y + height / 2, 2]


def set_entry(**values):
    return lambda coco: entry(coco).update(values)


def set_categories(**values):
    def damage(coco):
        for document in coco.documents.values():
            for category in document["categories"]:
                category.update(values)

    return damage


def other_keypoints_for_one_class(coco):
    for document in coco.documents.values():
        document["categories"][0]["keypoints"] = ["a", "b", "c", "d"]


DEFECTS = {
    "empty_masks": (set_entry(segmentation={"size": list(PICTURE), "counts": [96 * 128]}), "annotation 1"),
    "malformed_masks": (set_entry(segmentation={"size": list(PICTURE), "counts": [7]}), "add up to 7 pixels"),
    "masks_off_boxes": (shift_mask, "mask within x1, y1, x2, y2 ="),
    "missing_masks": (lambda coco: entry(coco).pop("segmentation"), "annotation 1"),
    "malformed_keypoints": (set_entry(keypoints=[1, 2, 2]), "each of 4 keypoints, 12 numbers, got 3"),
    "keypoints_outside": (move_keypoint(-3, 10), "annotation 1 .*: top"),
    "missing_flip_pairs": (
        set_categories(keypoints=["a", "b", "c", "d"], flip_pairs=None),
        "train: a, b, c, d",
    ),
    "bad_skeletons": (set_categories(skeleton=[[1, 9]]), "must join its keypoints 1 … 4"),
}


def test_drawn_shapes_are_healthy(coco_with_shapes):
    assert [f.kind for f in examine(coco_with_shapes.root).problems] == []


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_planted_defect_is_the_only_one_found(coco_with_shapes, kind):
    damage, example = DEFECTS[kind]
    damage(coco_with_shapes)
    coco_with_shapes.save()
    report = examine(coco_with_shapes.root)
    assert [finding.kind for finding in report.problems] == [kind], report.text()
    (finding,) = report.problems
    assert any(re.search(example, text) for text in finding.examples), finding.examples


def test_short_polygons_leave_the_object_without_a_mask(coco_with_shapes):
    set_entry(segmentation=[[1, 1, 5, 5]])(coco_with_shapes)
    coco_with_shapes.save()
    kinds = {finding.kind for finding in examine(coco_with_shapes.root).problems}
    assert kinds == {"short_polygons", "missing_masks"}


def test_keypoints_far_from_their_box(coco_with_shapes):
    entry(coco_with_shapes)["bbox"] = [2, 2, 6, 6]
    entry(coco_with_shapes)["segmentation"] = [[2, 2, 8, 2, 8, 8, 2, 8]]
    entry(coco_with_shapes)["keypoints"] = [90, 5, 2, 8, 5, 2, 5, 8, 2, 2, 5, 2]
    coco_with_shapes.save()
    (finding,) = examine(coco_with_shapes.root).problems
    assert finding.kind == "keypoints_off_boxes" and finding.examples[0].endswith(": top")


def test_a_name_with_a_side_needs_its_partner(coco_with_shapes):
    set_categories(keypoints=["left_hip", "right_hip", "left_knee", "nose"], flip_pairs=[[0, 1]])(
        coco_with_shapes
    )
    coco_with_shapes.save()
    (finding,) = {finding.kind: finding for finding in examine(coco_with_shapes.root).problems}.values()
    assert finding.kind == "missing_flip_pairs" and finding.examples[0] == "train: no partner for left_knee"


def test_labelme_folders_are_examined(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    buffer = BytesIO()
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(buffer, "png")
    shapes = [
        {"label": "cat", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"},
        {"label": "cat", "points": [[20, 20], [24, 24]], "shape_type": "mask"},
        {"label": "line", "points": [[1, 1], [9, 9]], "shape_type": "line"},
    ]
    shapes[1]["mask"] = base64.b64encode(buffer.getvalue()).decode()
    file = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 30, "imageWidth": 40}
    (tmp_path / "a.json").write_text(json.dumps(file))
    report = examine(tmp_path)
    assert report.source.startswith("LabelMe data set in")
    (finding,) = report.problems
    assert (
        finding.kind == "shapes_left_out"
        and "shape 3 ('line') is a line, which is no area" in finding.examples[0]
    )
