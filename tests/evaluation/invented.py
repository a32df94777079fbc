"""Invented ground truth and results with all that is awkward in them, and what pycocotools says of such data."""

import contextlib
import io
import json

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

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


def precision(ground_truth, results, task):
    """pycocotools' (T, classes, S) mean over recalls, nan where there is nothing to find."""
    return areas(scored(ground_truth, results, task))


def areas(scoring):
    """The same of what `scored` gives."""
    with contextlib.redirect_stdout(io.StringIO()):
        scoring.accumulate()
    table = scoring.eval["precision"][..., -1]
    return np.where(table[:, 0] < 0, np.nan, table.mean(1))


def scored(ground_truth, results, task, max_dets=None):
    """pycocotools' evaluation, everything matched."""
    if task == "segm":  # else the size of a found mask would be that of its box
        results = [{key: value for key, value in row.items() if key != "bbox"} for row in results]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(ground_truth))
        reference.createIndex()
        scoring = COCOeval(reference, reference.loadRes(json.loads(json.dumps(results))), task)
        if task == "keypoints":
            scoring.params.kpt_oks_sigmas = np.array(HAND.sigmas)
        if max_dets is not None:
            scoring.params.maxDets = max_dets
        scoring.evaluate()
    return scoring
