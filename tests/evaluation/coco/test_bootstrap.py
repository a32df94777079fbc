"""Samples of pictures, not matched anew, score as data do for pycocotools in which pictures stand several times."""

from itertools import count

import numpy as np
import pytest
from invented import HAND, LABELS, invent, precision

from pagoda.evaluation.coco.bootstrap import draw_samples, resampled_ap
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.matching import match

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


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
