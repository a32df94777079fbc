"""Started twice by test_distributed.py: losses, normalisers and validation on half of the data each."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import distributed

from pagoda.criteria.dense import Normalizer, RetinaNetCriterion
from pagoda.criteria.efficientdet import EfficientDetCriterion
from pagoda.criteria.masks_keypoints import KeypointCriterion, MaskCriterion
from pagoda.criteria.rcnn import RoICriterion, RoISample
from pagoda.criteria.rpn import RPNCriterion, SampleNormalizer
from pagoda.criteria.yolov1 import YOLOv1Criterion
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.runner import evaluate
from pagoda.models import create_model
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.cells import CellCoder, split_cells
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs, RPNOutputs


def criteria_losses(rank: int | None) -> dict[str, float]:
    """Every divisor of a loss, of three images for the first process and one for the second; None: of all four."""
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.rand, generator=generator)
    mine = {None: slice(0, 4), 0: slice(0, 3), 1: slice(3, 4)}[rank]
    anchors = (torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]]),)
    boxes = [anchors[0][:count] for count in (1, 2, 0, 3)]
    targets = [Targets(b, torch.zeros(len(b)).long(), (16, 16), torch.zeros(len(b)).bool()) for b in boxes][
        mine
    ]
    deltas, logits = draw(4, 4, 4)[mine], draw(4, 4, 1)[mine]
    dense, coder, found = DenseOutputs(logits, deltas, None, anchors), BoxCoder(), {}
    for normalizer in get_args(Normalizer):
        criterion = RetinaNetCriterion(normalizer=normalizer, box_loss="smooth_l1")
        found |= {f"{normalizer} {k}": v for k, v in criterion(dense, targets, [3], coder=coder).items()}
    moving = RetinaNetCriterion(moving_start=100.0)
    found |= moving(dense, targets, [3], moving.running_count(), coder=coder)
    own = EfficientDetCriterion()
    found |= {
        f"efficientdet {k}": v for k, v in own(dense, targets, [3], own.running_count(), coder=coder).items()
    }
    places = split_cells(torch.sin(torch.arange(4 * 44.0)).view(4, 44)[mine], num_classes=1, num_boxes=2)
    cells = YOLOv1Criterion()(places, targets, (2, 2), (16, 16), coder=CellCoder())
    found |= {f"yolov1 {k}": v for k, v in cells.items()}
    sizes = torch.tensor([(16, 16)] * len(targets))
    for normalizer in get_args(SampleNormalizer):
        rpn = RPNCriterion(
            count=None if normalizer != "budget" else 4, positive_share=1.0, normalizer=normalizer
        )
        rows = rpn(RPNOutputs(logits[..., 0], deltas, anchors), targets, sizes, coder=coder)
        found |= {f"{normalizer} {k}": v for k, v in rows.items()}
    regions = [anchors[0][: 2 + image] for image in (0, 1, 2, 1)]
    objects = [torch.tensor([0] + [-1] * (len(r) - 1)) if len(b) else torch.full((len(r),), -1)
               for r, b in zip(regions, boxes, strict=True)]  # fmt: skip
    outputs = [(draw(len(r), 2), draw(len(r), 1, 4)) for r in regions][mine]
    sample = RoISample(
        torch.cat(regions[mine]),
        torch.cat([torch.full((len(r),), image) for image, r in enumerate(regions[mine])]),
        torch.cat(objects[mine]),
    )
    heads = [torch.cat(each) for each in zip(*outputs, strict=True)]
    found |= {f"region {k}": v for k, v in RoICriterion()(*heads, sample, targets, coder=coder).items()}
    masks = [draw(count, 2, 2) for count in (1, 4, 0, 2)][mine]
    flat = torch.cat(masks)
    found |= MaskCriterion()(flat, (flat > 0.5).float(), torch.ones(len(flat)).bool())
    for normalizer in ("visible", "budget"):
        points = KeypointCriterion(normalizer=normalizer)
        cells, counts = torch.zeros(len(flat), 1).long(), torch.ones(len(flat), 1).bool()
        found[f"{normalizer} keypoints"] = points(flat[:, None], cells, counts, len(targets))["loss_keypoint"]
    return {name: value.item() for name, value in found.items()}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    if int(os.environ["WORLD_SIZE"]) > 1:
        distributed.init_process_group("gloo")
    found = {}
    data = DrawnShapes(5, image_size=(64, 64), seed=3)
    for name in ("fcos_resnet18_fpn", "retinanet_resnet18_fpn"):
        torch.manual_seed(0)
        model = create_model(
            name,
            label_map=data.label_map,
            width=32,
            head_depth=1,
            base_channels=16,
            short_side=64,
            long_side=64,
        ).eval()
        samples = [data[index] for index in range(4)]
        targets = [t for _, t in samples[:2]] + [Targets.empty((64, 64))] * 2  # the second half has no object
        pictures = [p for p, _ in samples]
        if os.environ["WORLD_SIZE"] == "2":
            half = slice(0, 2) if rank == 0 else slice(2, 4)
            pictures, targets = pictures[half], targets[half]
        losses = model.losses(model.input_spec.batch(pictures), targets)
        sum(losses.values()).backward()
        result = evaluate(model, data, batch_size=2)
        found[name] = {
            "losses": {key: value.item() for key, value in losses.items()},
            "finite": all(
                torch.isfinite(p.grad).all().item() for p in model.parameters() if p.grad is not None
            ),
            "metrics": result.to_dict()["metrics"],
        }
    found["criteria"] = {
        "losses": criteria_losses(rank if os.environ["WORLD_SIZE"] == "2" else None),
        "finite": True,
        "metrics": {},
    }
    (out / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
