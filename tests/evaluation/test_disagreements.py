"""Valid input on which evaluators of this field give different numbers: what Pagoda gives, and beside whom.

The rows stand in docs/disagreements.md. Where the other program is installed for the tests it is asked, too.
"""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.ops.rle import encode_masks, mask_areas, mask_boxes, to_text
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

LABELS = LabelMap(("thing",), (1,))


def document(boxes, **columns):
    """One picture of 400×400 with these xywh boxes; `columns` are further keys, one value of each box."""
    rows = [
        {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for k, box in enumerate(boxes)
    ]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    images, categories = [{"id": 1, "width": 400, "height": 400}], [{"id": 1, "name": "thing"}]
    return {"images": images, "annotations": rows, "categories": categories}


def results(boxes, scores=None):
    scores = scores or [0.9 - k / 1000 for k in range(len(boxes))]
    return [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for box, score in zip(boxes, scores, strict=True)
    ]


def pagoda_result(truth, found, **options):
    evaluator = DetectionEvaluator(truth, LABELS, **options)
    evaluator.update_results(found)
    return evaluator.result()


def pycocotools_stats(truth, found, max_detections=None):
    """The twelve numbers, AP first and AR@1 seventh."""
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(truth))
        reference.createIndex()
        scoring = COCOeval(reference, reference.loadRes(json.loads(json.dumps(found))), "bbox")
        scoring.params.maxDets = max_detections or scoring.params.maxDets
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats


GRID = [[26 * (k % 15) + 1, 26 * (k // 15) + 1, 24, 24] for k in range(225)]


def test_an_annotation_with_id_zero_counts():
    boxes = [[10, 10, 30, 30], [100, 100, 30, 30]]
    truth = document(boxes, id=[0, 1])
    assert pagoda_result(truth, results(boxes)).metrics["AP"] == pytest.approx(1)
    assert pycocotools_stats(truth, results(boxes))[0] == pytest.approx(0.2525, abs=1e-4)


@pytest.mark.medium
def test_another_limit_has_a_number_of_its_own_and_stands_in_the_protocol():
    truth, found = document(GRID), results(GRID)
    few, many = (pagoda_result(truth, found, max_detections=limit) for limit in (100, 1000))
    assert pycocotools_stats(truth, found, [1, 10, 1000])[0] == -1
    assert many.metrics["AP"] == pytest.approx(1) and many.metrics["AR1000"] == pytest.approx(1)
    assert "max 1000 detections per image and class" in many.protocol and not many.warnings
    # 100 of 225 objects: precision is 1 up to a recall of .44.
    assert few.metrics["AP"] == pytest.approx(45 / 101)
    assert few.metrics["AP"] == pytest.approx(pycocotools_stats(truth, found)[0])
    (warning,) = few.warnings
    assert "1 picture holds more objects of one class (up to 225) than the 100 detections" in warning
    assert "--max-detections 225" in warning and f"warning: {warning}" in few.table()
    assert few.to_dict()["warnings"] == [warning]
    assert not pagoda_result(truth, found, max_detections=225).warnings


def test_ignore_is_overwritten_by_iscrowd():
    boxes = [[10, 10, 30, 30], [100, 100, 30, 30]]
    truth = document(boxes, ignore=[1, 0])
    ours, theirs = pagoda_result(truth, results(boxes)), pycocotools_stats(truth, results(boxes))
    assert ours.metrics["AR1"] == pytest.approx(theirs[6]) == pytest.approx(0.5)
    assert ours.num_objects == 2


@pytest.mark.parametrize("iou", [0.55, 0.6, 0.8, 0.85])
def test_an_iou_of_exactly_the_threshold_matches(iou):
    """float32 would make .55 a little more, and miss the object."""
    truth, found = document([[0, 0, 100, 100]]), results([[0, 0, 100, round(100 * iou)]])
    matched = sum(iou >= threshold for threshold in np.linspace(0.5, 0.95, 10))
    ours = pagoda_result(truth, found).metrics["AP"]
    assert ours == pytest.approx(matched / 10) == pytest.approx(pycocotools_stats(truth, found)[0])


@pytest.mark.parametrize(("side", "small", "medium", "large"), [(32, 1, 1, None), (96, None, 1, 1)])
def test_the_ends_of_an_area_range_belong_to_both_sides(side, small, medium, large):
    """An object of exactly 1024 pixels is scored as small and as medium, one of 9216 as medium and as large."""
    boxes = [[10, 10, side, side]]
    truth = document(boxes)
    ours, theirs = pagoda_result(truth, results(boxes)).metrics, pycocotools_stats(truth, results(boxes))
    for name, expected, stat in zip(("APs", "APm", "APl"), (small, medium, large), theirs[3:6], strict=True):
        value = -1 if np.isnan(ours[name]) else ours[name]
        assert value == pytest.approx(-1 if expected is None else expected) == pytest.approx(stat)


def test_a_polygon_covers_what_its_run_lengths_cover():
    """COCO's rasteriser gives this triangle 50 pixels; drawing programs count the border and give 61."""
    triangle = [[0.0, 0.0, 10.0, 0.0, 5.0, 10.0]]
    text = to_text(triangle, (20, 20))
    run_lengths = coco_mask.merge(coco_mask.frPyObjects(triangle, 20, 20))
    assert int(mask_areas([text], (20, 20))[0]) == int(coco_mask.area(run_lengths)) == 50
    assert mask_boxes([text], (20, 20))[0].tolist() == coco_mask.toBbox(run_lengths).tolist() == [0, 0, 10, 9]


def test_equal_ious_go_to_the_object_listed_last():
    """The second detection can only be right with the first object: it is, so the first went to the last."""
    truth = document([[0, 0, 20, 20], [10, 0, 20, 20]])
    between = [5, 0, 20, 20]  # IoU .6 with both
    found = results([between, [0, 0, 20, 20]])
    ours, theirs = pagoda_result(truth, found).metrics["AP50"], pycocotools_stats(truth, found)[1]
    assert ours == pytest.approx(1) == pytest.approx(theirs)
    swapped = document([[10, 0, 20, 20], [0, 0, 20, 20]])
    assert pagoda_result(swapped, found).metrics["AP50"] == pytest.approx(
        pycocotools_stats(swapped, found)[1]
    )
    assert pagoda_result(swapped, found).metrics["AP50"] < 0.6


def test_only_truth_values_become_masks():
    """Of the row 0, 1, 2, 255 pycocotools counts two pixels and hotcoco three: such masks never reach either."""
    row = np.array([[0, 1, 2, 255]], np.uint8)
    with pytest.raises(ValueError, match=r"must be \(n, height, width\) bool"):
        encode_masks(row[None])
    found = Detections(
        torch.tensor([[0.0, 0.0, 4.0, 1.0]]),
        torch.ones(1),
        torch.zeros(1, dtype=torch.long),
        (1, 4),
        LABELS,
        masks=torch.from_numpy(row)[None],
    )
    (written,) = found.to_coco(image_id=1)
    assert mask_areas([written["segmentation"]["counts"]], (1, 4)).tolist() == [3]
