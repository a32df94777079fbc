"""What the intervals of `pagoda compare` take: two made-up detectors on 5,000 pictures of 80 classes, 2,000 rounds.

    python benchmarks/comparison.py

35,000 objects and 140,000 detections of each, as `benchmarks/evaluation.py` draws them. Matching is done once for each
detector and timed apart; the rounds count what was matched again, with other weights of the pictures.
"""

import argparse
import platform
import statistics
import time

import numpy as np

import evaluation
from pagoda.evaluation.coco.comparison import compare_runs
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.matching import match
from pagoda.structures.labels import LabelMap

evaluation.IMAGES, evaluation.OBJECTS, evaluation.DETECTIONS = 5000, 35_000, 140_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    truth, results = evaluation.made_up()
    names = [category["name"] for category in truth["categories"]]
    chance = np.random.default_rng(1)
    since = time.perf_counter()
    runs = []
    for noise in (0.0, 0.05):
        rows = [
            {**row, "score": float(np.clip(row["score"] + chance.normal(0, noise), 0, 1))} for row in results
        ]
        evaluator = DetectionEvaluator(truth, LabelMap.from_names(names))
        evaluator.update_results(rows)
        runs.append({"bbox": match(GroundTruth(truth), evaluator.state(), "bbox", 100)})
    matched = time.perf_counter() - since
    seconds = []
    for _ in range(options.repeats):
        since = time.perf_counter()
        compared = compare_runs(runs[:1], runs[1:], names, rounds=options.rounds)
        seconds.append(time.perf_counter() - since)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print(compared.parts["AP"].verdict(compared.num_images))
    print(
        f"matching of both {matched:.1f} s; {options.rounds} rounds of both {statistics.median(seconds):.1f} s"
    )


if __name__ == "__main__":
    main()
