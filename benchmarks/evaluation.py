"""COCO metrics beside pycocotools on the same results: 2,000 pictures, 80 classes, about 200,000 detections.

    python benchmarks/evaluation.py --repeats 3

Alternately in one process; both from plain Python results to the twelve numbers. Pagoda's part is all of
`DetectionEvaluator`: checks, ground truth, matching, per-class tables and curves.
"""

import argparse
import contextlib
import io
import platform
import statistics
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.structures.labels import LabelMap

IMAGES, CLASSES, OBJECTS, DETECTIONS = 2000, 80, 14_000, 198_000


def made_up() -> tuple[dict, list[dict]]:
    """Ground truth with 1 % crowd, and detections of which a part sits near a true box."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 400, (OBJECTS, 2)), rng.lognormal(3.7, 0.9, (OBJECTS, 2))
    owner, label = rng.integers(1, IMAGES + 1, OBJECTS), rng.integers(1, CLASSES + 1, OBJECTS)
    objects = [
        {
            "id": i + 1,
            "image_id": int(owner[i]),
            "category_id": int(label[i]),
            "bbox": [*corner[i].tolist(), *side[i].tolist()],
            "area": float(side[i].prod()),
            "iscrowd": int(rng.random() < 0.01),
        }
        for i in range(OBJECTS)
    ]
    results = []
    for _ in range(DETECTIONS):
        i = int(rng.integers(OBJECTS))
        is_near = rng.random() < 0.25
        box = np.array(objects[i]["bbox"]) * (rng.normal(1, 0.08, 4) if is_near else rng.uniform(0.3, 2, 4))
        results.append(
            {
                "image_id": objects[i]["image_id"],
                "category_id": objects[i]["category_id"] if is_near else int(rng.integers(1, CLASSES + 1)),
                "bbox": np.abs(box).tolist(),
                "score": float(rng.beta(4, 2) if is_near else rng.beta(1, 4)),
            }
        )
    images = [{"id": i, "width": 640, "height": 640, "file_name": f"{i}.jpg"} for i in range(1, IMAGES + 1)]
    categories = [{"id": c, "name": f"class {c}"} for c in range(1, CLASSES + 1)]
    return {"info": {}, "images": images, "categories": categories, "annotations": objects}, results


def by_pycocotools(truth: dict, results: list[dict]) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = truth
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes([dict(row) for row in results]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def by_pagoda(truth: dict, results: list[dict]) -> np.ndarray:
    labels = LabelMap.from_names(category["name"] for category in truth["categories"])
    evaluator = DetectionEvaluator(truth, labels)
    evaluator.update_results(results)
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    metrics = evaluator.result().metrics
    return np.array([metrics[name] for name in names])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    truth, results = made_up()
    seconds: dict[str, list[float]] = {"pycocotools": [], "pagoda": []}
    numbers = {}
    for _ in range(repeats):
        for name, run in (("pycocotools", by_pycocotools), ("pagoda", by_pagoda)):
            since = time.perf_counter()
            numbers[name] = run(truth, results)
            seconds[name].append(time.perf_counter() - since)
    peer, own = (statistics.median(seconds[name]) for name in ("pycocotools", "pagoda"))
    difference = np.abs(numbers["pycocotools"] - numbers["pagoda"]).max()
    print(f"{platform.machine()}, Python {platform.python_version()}; medians of {repeats}")
    print(
        f"pycocotools {peer:.2f} s, pagoda {own:.3f} s: {peer / own:.1f} times; largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
