"""Samples of pictures, not matched anew, score as data do for pycocotools in which pictures stand several times."""

import contextlib
import io
import json
from itertools import count

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.evaluation.coco.bootstrap import draw_samples, resampled_ap
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.matching import match
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools

HAND = Skeleton(("wrist", "left_tip", "right_tip"), sigmas=(0.03, 0.06, 0.12))
LABELS = LabelMap(("cat", "dog"), (2, 7), HAND)
SIDE = 200


def described(box, points):
    """A box with a mask that fills it, and three points."""
    x, y, w, h = box.tolist()
    (mask,) = coco_mask.frPyObjects([[x, y, x + w, y, x + w, y + h, x, y + h]], SIDE, SIDE)
    return {
        "bbox": [x, y, w, h],
        "segmentation": {"size": [SIDE, SIDE], "counts": mask["counts"].decode()},
        "keypoints": points.flatten().tolist(),
    }


def invent(seed, num_images):
    """Objects of all sizes, crowds among them; results near them with equal scores, some of the other class."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, num_images + 1):
        for _ in range(random.integers(0, 7)):
            box = np.array([*random.uniform(0, 90, 2), *random.choice([12, 40, 105], 2)]).round(1)
            points = np.column_stack([random.uniform(0, SIDE, (3, 2)), random.integers(0, 3, 3)]).round(1)
            points[points[:, 2] == 0] = 0
            own = {"image_id": image, "category_id": int(random.choice([2, 7]))}
            annotations.append(
                {
                    **own,
                    **described(box, points),
                    "id": len(annotations) + 1,
                    "area": float(box[2:].prod()),
                    "iscrowd": int(random.random() < 0.15),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
            for _ in range(random.integers(0, 4)):
                near = points + random.normal(size=(3, 3)) * 2
                guess = described((box + random.normal(size=4) * box[2:].min() / 12).round(1), near)
                score = float(round(random.random(), 1))
                results.append({**own, **guess, "score": score})
                if random.random() < 0.2:
                    results[-1]["category_id"] = 9 - own["category_id"]
    images = [{"id": i, "height": SIDE, "width": SIDE} for i in range(1, num_images + 1)]
    categories = [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def repeated(ground_truth, results, times):
    """The same data with each picture as often as `times` says, under new ids."""
    image_ids, annotation_ids = count(1), count(1)
    images, annotations, rows = [], [], []
    for image, number in zip(ground_truth["images"], times, strict=True):
        for _ in range(number):
            new = next(image_ids)
            images.append({**image, "id": new})
            annotations += [
                {**each, "id": next(annotation_ids), "image_id": new}
                for each in ground_truth["annotations"]
                if each["image_id"] == image["id"]
            ]
            rows += [{**row, "image_id": new} for row in results if row["image_id"] == image["id"]]
    return {**ground_truth, "images": images, "annotations": annotations}, rows


def precision(ground_truth, results, task):
    """pycocotools' (T, classes, S) mean over recalls, nan where there is nothing to find."""
    if task == "segm":  # else the size of a found mask would be that of its box
        results = [{key: value for key, value in row.items() if key != "bbox"} for row in results]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(ground_truth))
        reference.createIndex()
        scoring = COCOeval(reference, reference.loadRes(json.loads(json.dumps(results))), task)
        if task == "keypoints":
            scoring.params.kpt_oks_sigmas = np.array(HAND.sigmas)
        scoring.evaluate()
        scoring.accumulate()
    table = scoring.eval["precision"][..., -1]
    return np.where(table[:, 0] < 0, np.nan, table.mean(1))


def matched(ground_truth, results, task):
    evaluator = DetectionEvaluator(ground_truth, LABELS)
    evaluator.update_results(results)
    return match(GroundTruth(ground_truth), evaluator.state(), task, 20 if task == "keypoints" else 100, HAND)


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("seed", range(6))
def test_all_pictures_score_as_pycocotools_scores_them(task, seed):
    ground_truth, results = invent(seed, num_images=20)
    (found,) = resampled_ap(matched(ground_truth, results, task), np.ones((1, 20), np.int32))
    expected = precision(ground_truth, results, task)
    np.testing.assert_allclose(found.transpose(1, 2, 0), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("seed", range(3))
def test_a_sample_scores_as_pictures_that_stand_there_as_often(task, seed):
    ground_truth, results = invent(seed, num_images=8)
    for row, score in zip(results, np.random.default_rng(seed).random(len(results)), strict=True):
        row["score"] = float(score)  # of equal scores it would matter which copy of a picture comes first
    drawn = draw_samples(8, 6, seed)
    found = resampled_ap(matched(ground_truth, results, task), drawn)
    for sample, times in zip(found, drawn, strict=True):
        expected = precision(*repeated(ground_truth, results, times), task)
        np.testing.assert_allclose(sample.transpose(1, 2, 0), expected, rtol=0, atol=1e-12)
