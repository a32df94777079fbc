#!/usr/bin/env bash
# torchvision 0.29.1 and OpenCV 5.0.0 (dnn.NMSBoxesBatched): suppression "per class" lets a box of one class suppress one
# of another at the opposite corner of the picture, as soon as a box reaches beyond the left and upper edge, as decoded
# boxes do until they are clipped. Both move class c by c (greatest coordinate + 1) and then forget the classes: negative
# coordinates reach back into the class before. From 1001 boxes on torchvision (on the CPU) takes the classes one by one,
# so boxes that touch nobody bring the lost one back. The same shift costs digits: with the 1200 classes of LVIS a pair
# of one class is suppressed or kept by the number of that class.
#
# Output seen:  (90, 90, 100, 100) of class 0, (-11, -11, -1, -1) of class 1: torchvision keeps [0], OpenCV keeps [0]
#               moved by 11 pixels: torchvision keeps [0, 1], OpenCV keeps [0, 1]
#               with 999 boxes of another class that touch neither: torchvision keeps the second box: True
#               a pair of IoU 0.6949 and a limit just below: class 0 suppresses it, class 1200 keeps both
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import cv2
import torch
from torchvision.ops import batched_nms, box_iou

boxes = torch.tensor([[90.0, 90, 100, 100], [-11, -11, -1, -1]])
scores, classes = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])


def kept(boxes: torch.Tensor) -> tuple[list[int], list[int]]:
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    by_opencv = cv2.dnn.NMSBoxesBatched(xywh, scores.tolist(), classes.tolist(), 0.0, 0.5)
    return batched_nms(boxes, scores, classes, 0.5).tolist(), sorted(int(index) for index in by_opencv)


outside, inside = kept(boxes), kept(boxes + 11)
said = "torchvision keeps {}, OpenCV keeps {}"
print("(90, 90, 100, 100) of class 0, (-11, -11, -1, -1) of class 1:", said.format(*outside))
print("moved by 11 pixels:", said.format(*inside))

away = torch.tensor([[50.0, 50, 60, 60]]).repeat(999, 1)
many_scores = torch.cat([scores, torch.full((999,), 0.1)])
many_classes = torch.cat([classes, torch.full((999,), 2)])
many = batched_nms(torch.cat([boxes, away]), many_scores, many_classes, 0.5)
print("with 999 boxes of another class that touch neither: torchvision keeps the second box:", 1 in many.tolist())

pair = torch.tensor([[100.3, 100.3, 110.3, 110.3], [102.1, 100.3, 112.1, 110.3]])
corner = torch.tensor([[1300.0, 1300, 1333, 1333]])
three, three_scores = torch.cat([pair, corner]), torch.tensor([0.9, 0.8, 0.7])
of_class = {n: batched_nms(three, three_scores, torch.tensor([n, n, 2]), 0.6949) for n in (0, 1200)}
iou = float(box_iou(pair[:1], pair[1:]))
print(f"a pair of IoU {iou:.4f} and a limit just below: class 0 suppresses it, class 1200 keeps both")
assert outside == ([0], [0]) and inside == ([0, 1], [0, 1]) and 1 in many.tolist()
assert iou > 0.6949 and of_class[0].tolist() == [0, 2] and of_class[1200].tolist() == [0, 1, 2]
PYTHON
