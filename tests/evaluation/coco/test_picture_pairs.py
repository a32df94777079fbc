"""What two find in one picture: the same as counted by hand, in the order of scores."""

import pytest

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.picture_pairs import picture_pairs
from pagoda.structures.labels import LabelMap

CAT, DOG = [10, 10, 40, 40], [60, 10, 20, 20]


def seen(results):
    box = {"image_id": 7, "bbox": CAT, "area": 1600}
    truth = {
        "images": [{"id": 7}, {"id": 5}],
        "annotations": [
            {**box, "id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 60, 90, 30], "area": 2700},
            {**box, "id": 2, "category_id": 1},
            {**box, "id": 3, "category_id": 2, "bbox": DOG, "area": 400},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    evaluator = DetectionEvaluator(truth, LabelMap.from_names(["cat", "dog"]))
    evaluator.update_results([{"image_id": 7, **row} for row in results])
    return evaluator.matches()["bbox"], evaluator.state()


def row(category_id, bbox, score):
    return {"category_id": category_id, "bbox": bbox, "score": score}


def test_by_hand():
    first = seen(
        [row(1, CAT, 0.5), row(1, [0, 0, 5, 5], 0.9), row(1, [70, 60, 5, 5], 0.8), row(1, [1, 1, 2, 2], 0.1)]
    )
    second = seen([row(2, DOG, 0.3), row(1, CAT, 0.6)])
    pair, empty = picture_pairs(first, second, [7, 5], ["cat", "dog"])
    assert pair.object_boxes == [(10, 10, 50, 50), (60, 10, 80, 30)] and pair.object_labels == ["cat", "dog"]
    # What is on the crowd counts for nothing, and what is weaker than the score of best F1 is not shown.
    assert pair.first.boxes == [(0, 0, 5, 5), (10, 10, 50, 50)]
    assert pair.first.objects == [None, 0] and pair.first.labels == ["cat", "cat"]
    assert pair.second.objects == [0, 1] and pair.second.labels == ["cat", "dog"]
    assert pair.second.scores == pytest.approx([0.6, 0.3])
    assert empty.object_boxes == [] and empty.first.boxes == empty.second.boxes == []
