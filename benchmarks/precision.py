"""What `optimize()` costs in accuracy: a checkpoint scored as it is, folded, and in bf16; and how many detections stay.

python benchmarks/precision.py CHECKPOINT --data DIR --split test
"""

import argparse

import torch

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.runner import detect_dataset
from pagoda.exporting.optimize import optimize
from pagoda.models import load
from pagoda.ops.boxes import pairwise_iou
from pagoda.structures.instances import Detections


def share_kept(reference: list[Detections], found: list[Detections], *, min_score: float = 0.3) -> float:
    """Share of the reference's detections that have one of the same class with IoU above 0.9."""
    kept = total = 0
    for ours, theirs in zip(reference, found, strict=True):
        wanted, candidates = ours.above(min_score), theirs.above(0.9 * min_score)
        total += len(wanted)
        if len(wanted) and len(candidates):
            same = wanted.labels[:, None] == candidates.labels[None]
            kept += int(((pairwise_iou(wanted.boxes, candidates.boxes) > 0.9) & same).any(1).sum())
    return kept / max(1, total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    data = DetectionDataset(open_annotations(options.data, options.split))
    model = load(options.checkpoint)
    variants = {
        "fp32": model,
        "optimize() fp32": optimize(model),
        "optimize() bf16": optimize(model, dtype=torch.bfloat16),
    }
    reference: list[Detections] = []
    print("| variant | AP | AP50 | detections kept (score ≥ 0.3, IoU > 0.9) |\n|---|--:|--:|--:|")
    for name, variant in variants.items():
        found = list(detect_dataset(variant, data))
        reference = reference or found
        evaluator = DetectionEvaluator(data.annotations.to_coco(), data.label_map)
        for detections in found:
            evaluator.update(detections)
        metrics = evaluator.result().metrics
        kept = share_kept(reference, found)
        print(f"| {name} | {100 * metrics['AP']:.2f} | {100 * metrics['AP50']:.2f} | {100 * kept:.1f} % |")


if __name__ == "__main__":
    main()
