#!/usr/bin/env bash
# torchmetrics 1.9.0: detection.IntersectionOverUnion matches nothing. It is the mean over every pair of a prediction and
# an object of one class in a picture, so perfect predictions of n objects that lie apart score 1/n and the number falls
# as pictures get fuller; GIoU falls below 0. Putting all predictions onto one object scores the same, and a single box
# that finds one object of four scores what four perfect ones do. With iou_threshold pairs below it are left out rather
# than counted as 0: then the one box of four, too, scores 1. Neither form can be compared with an IoU of matched boxes.
#
# Output seen:  perfect predictions of 1, 2, 4 objects: IoU 1.00, 0.50, 0.25; GIoU 1.00, 0.10, -0.39
#               4 objects: all 4 predictions on one of them 0.25, only one predicted 0.25
#               with iou_threshold=0.5: perfect 1.00, only one of 4 predicted 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    torchmetrics==1.9.0 torch==2.14.1 torchvision==0.29.1 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torchmetrics.detection import GeneralizedIntersectionOverUnion, IntersectionOverUnion

OBJECTS = torch.tensor([[0.0, 0, 10, 10], [90, 0, 100, 10], [0, 90, 10, 100], [90, 90, 100, 100]])  # xyxy, one class


def score(metric, found: torch.Tensor, objects: torch.Tensor) -> float:
    labels = torch.zeros(len(found), dtype=torch.int64), torch.zeros(len(objects), dtype=torch.int64)
    metric.update([{"boxes": found, "labels": labels[0]}], [{"boxes": objects, "labels": labels[1]}])
    return float(next(iter(metric.compute().values())))


def shown(scores: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in scores)


counts = (1, 2, 4)
iou = [score(IntersectionOverUnion(), OBJECTS[:n], OBJECTS[:n]) for n in counts]
giou = [score(GeneralizedIntersectionOverUnion(), OBJECTS[:n], OBJECTS[:n]) for n in counts]
print(f"perfect predictions of 1, 2, 4 objects: IoU {shown(iou)}; GIoU {shown(giou)}")
on_one = score(IntersectionOverUnion(), OBJECTS[:1].repeat(4, 1), OBJECTS)
one = score(IntersectionOverUnion(), OBJECTS[:1], OBJECTS)
print(f"4 objects: all 4 predictions on one of them {on_one:.2f}, only one predicted {one:.2f}")
limited = [score(IntersectionOverUnion(iou_threshold=0.5), found, OBJECTS) for found in (OBJECTS, OBJECTS[:1])]
print("with iou_threshold=0.5: perfect {:.2f}, only one of 4 predicted {:.2f}".format(*limited))
assert iou == [1.0, 0.5, 0.25] and giou[0] == 1.0 and giou[2] < 0
assert on_one == one == 0.25 and limited == [1.0, 1.0]
PYTHON
