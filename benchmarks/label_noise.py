"""Annotations spoilt on purpose, and how many of the first suspects of `pagoda why` are among them; cleanlab beside it.

    python benchmarks/label_noise.py --checkpoint CKPT --data DIR/bccd --split val+test --seeds 0 1

CKPT has learnt from other pictures. A share of the objects gets another class, as large a share is removed. A suspect
counts as right if its object was given another class, or its box is that of a removed one (IoU .5): what people had
forgotten themselves counts as wrong. cleanlab (pip install cleanlab), where it is there, ranks the same detections.
"""

import argparse
import random
from dataclasses import dataclass, replace

import numpy as np
import torch

import pagoda
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.evaluation.runner import detect_dataset
from pagoda.explain.why.examine import why
from pagoda.ops.boxes import pairwise_iou

FIRST = (20, 50, 100)
"""suspects of which the right ones are counted"""


@dataclass
class Spoilt:
    """A table with known mistakes."""

    table: Annotations
    renamed: set[tuple[int | str, int]]
    """(picture, row) of objects of another class"""
    removed: dict[int | str, list[torch.Tensor]]
    """boxes by picture"""

    def is_removed(self, image_id: int | str, box: object) -> bool:
        boxes = self.removed.get(image_id, [])
        if not boxes:
            return False
        given = torch.as_tensor(box, dtype=torch.float64).reshape(1, 4)
        return bool((pairwise_iou(given, torch.stack(boxes).double()) >= 0.5).any())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    model = pagoda.optimize(pagoda.load(options.checkpoint).eval())
    table = open_annotations(options.data, options.split)
    print(
        "| seed | renamed | removed | ranked by | first 20 | first 50 | first 100 |\n|--|--:|--:|---|--:|--:|--:|"
    )
    for seed in options.seeds:
        spoilt = spoil(table, options.share, seed)
        removed = sum(map(len, spoilt.removed.values()))
        ranked = {"pagoda why": of_why(model, spoilt)} | of_cleanlab(model, spoilt)
        for name, right in ranked.items():
            shares = " | ".join(f"{np.mean(right[:count]):.2f}" if right else "none" for count in FIRST)
            print(f"| {seed} | {len(spoilt.renamed)} | {removed} | {name} | {shares} |")


def spoil(table: Annotations, share: float, seed: int) -> Spoilt:
    draw, classes = random.Random(seed), len(table.label_map)
    pictures, renamed, removed = [], set(), {}
    for index in range(len(table)):
        targets = table.targets(index)
        labels, kept = targets.labels.clone(), []
        for row in range(len(targets)):
            chance = draw.random()
            if chance < share:
                labels[row] = draw.choice([label for label in range(classes) if label != int(labels[row])])
                renamed.add((targets.image_id, len(kept)))
            elif chance < 2 * share:
                removed.setdefault(targets.image_id, []).append(targets.boxes[row])
                continue
            kept.append(row)
        pictures.append(replace(targets, labels=labels)[torch.tensor(kept, dtype=torch.long)])
    spoilt = tabulate(pictures, label_map=table.label_map, root=table.root, source="spoilt annotations")
    return Spoilt(spoilt, renamed, removed)


def of_why(model: pagoda.detectors.contract.Detector, spoilt: Spoilt) -> list[bool]:
    """Of each suspect, the first first, whether it is right."""
    told = why(model, DetectionDataset(spoilt.table))
    return [
        (each.image_id, each.object) in spoilt.renamed
        if each.kind == "class"
        else each.kind == "missing" and spoilt.is_removed(each.image_id, each.box)
        for each in told.suspects
    ]


def of_cleanlab(model: pagoda.detectors.contract.Detector, spoilt: Spoilt) -> dict[str, list[bool]]:
    """By its scores of swapped and of overlooked boxes, together and alone: of the detections as they are, and with
    scores stretched so that each class's best one is 1, for it looks at what has .95 or more."""
    try:
        from cleanlab.object_detection import rank
    except ImportError:
        print("cleanlab is not installed: pip install cleanlab")
        return {}
    found = list(detect_dataset(model, DetectionDataset(spoilt.table)))
    return {
        name: right
        for stretched in (False, True)
        for name, right in _of_cleanlab(rank, found, spoilt, stretched=stretched).items()
    }


def _of_cleanlab(
    rank: object, found: list[pagoda.Detections], spoilt: Spoilt, *, stretched: bool
) -> dict[str, list[bool]]:
    classes = range(len(spoilt.table.label_map))
    most = torch.ones(len(classes))
    if stretched:
        most = torch.stack(
            [torch.cat([each.scores[each.labels == label] for each in found]).max() for label in classes]
        )
    predictions = []
    for each in found:
        scores = each.scores / most[each.labels]
        rows = torch.cat([each.boxes, scores[:, None]], dim=1).double().numpy()
        parts = np.empty(len(classes), dtype=object)
        for label in classes:
            parts[label] = rows[each.labels.numpy() == label]
        predictions.append(parts)
    targets = [spoilt.table.targets(index) for index in range(len(spoilt.table))]
    labels = [{"bboxes": each.boxes.double().numpy(), "labels": each.labels.numpy()} for each in targets]
    swapped = rank.compute_swap_box_scores(labels=labels, predictions=predictions)
    overlooked = rank.compute_overlooked_box_scores(labels=labels, predictions=predictions)
    items = {"swapped": [], "overlooked": []}
    for each, boxes, swaps, misses in zip(targets, predictions, swapped, overlooked, strict=True):
        items["swapped"] += [
            (score, (each.image_id, row) in spoilt.renamed) for row, score in enumerate(swaps)
        ]
        rows = np.concatenate(list(boxes))
        items["overlooked"] += [
            (score, spoilt.is_removed(each.image_id, rows[row, :4])) for row, score in enumerate(misses)
        ]
    items["both"] = items["swapped"] + items["overlooked"]
    return {
        f"cleanlab, {name}{', stretched' if stretched else ''}": [
            right for score, right in sorted(pairs, key=lambda pair: pair[0]) if not np.isnan(score)
        ]
        for name, pairs in items.items()
    }


if __name__ == "__main__":
    main()
