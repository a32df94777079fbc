#!/usr/bin/env bash
# torchmetrics 1.9.0: MeanAveragePrecision(average="micro") does not pool the decisions of all classes, as micro averages
# of classifiers do: it gives every prediction and every object class 0. A detector that finds all objects and calls each
# by a wrong name scores 1.0; the averages named micro in torchmetrics.classification count every wrong name as an error.
#
# Output seen:  every class wrong: macro 0.0, micro 1.0; MulticlassPrecision micro of the same labels 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    torchmetrics==1.9.0 torch==2.14.1 torchvision==0.29.1 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torchmetrics.classification import MulticlassPrecision
from torchmetrics.detection import MeanAveragePrecision

boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 90, 90]])
true, called = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])


def ap(average: str) -> float:
    metric = MeanAveragePrecision(average=average)
    scores = torch.tensor([0.9, 0.8, 0.7])
    metric.update([{"boxes": boxes, "scores": scores, "labels": called}], [{"boxes": boxes, "labels": true}])
    return round(float(metric.compute()["map"]), 6)


macro, micro = ap("macro"), ap("micro")
names = float(MulticlassPrecision(num_classes=3, average="micro")(called, true))
print(f"every class wrong: macro {macro}, micro {micro}; MulticlassPrecision micro of the same labels {names}")
assert (macro, micro, names) == (0.0, 1.0, 0.0)
PYTHON
