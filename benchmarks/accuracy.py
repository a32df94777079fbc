"""Accuracy on real pictures: Pagoda and other programs' own classes, the same backbone, width, epochs and data.

python benchmarks/accuracy.py --data DIR/bccd                  # FCOS and RetinaNet, both systems
python benchmarks/accuracy.py --data DIR/bccd --systems pagoda torchvision torchvision+recipe --seeds 0 1

ResNet-18 from scratch, FPN and heads 64 wide, 320×240, batch 8, 12 epochs; learns from train+val, scored on
test by the same evaluator, every detection above 0.001 counted. Times are of training alone (reading
included), so "equal wall-clock" can be read off the rows per epoch.

* torchvision – its FCOS or (second) RetinaNet class and its reference recipe: SGD 0.01, momentum 0.9, decay 1e-4,
  warm-up over the first epoch, ÷10 at 2/3 and 11/12 of the run, horizontal flips.
* torchvision-v1 – the same with the first version of its RetinaNet, which has no norm in the heads.
* torchvision+recipe – the same class under Pagoda's recipe (optimiser, schedule, augmentation, average).

python benchmarks/accuracy.py --data DIR/bccd --models efficientdet --systems pagoda effdet

EfficientDet-D0 (effdet's efficientdet_d0) from scratch in a 192×256 canvas, else as above; Pagoda under its recipe
`efficientdet_small`.

* effdet – its class and Google's recipe at this batch: SGD 0.01, momentum 0.9, decay 4e-5, one epoch of warm-up,
  cosine, average of 0.9966 (effdet's for short runs), horizontal flips.
* effdet+recipe – the same class under Pagoda's recipe.
"""

import argparse
import copy
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from pagoda.data.augment.transforms import Compose, HorizontalFlip, Resize
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import BatchPlan, TrainingView, make_loader
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.recipes.efficientdet import small
from pagoda.recipes.training_run import train_on
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.training.ema import ModelAverage
from pagoda.training.optim import build_optimizer, rate_factor, set_rate
from pagoda.training.run_log import read_records
from pagoda.training.settings import OptimSettings, TrainSettings

WIDTH, SHORT, LONG = 64, 240, 320
CANVAS = (192, 256)
MODELS = {
    "fcos": "fcos_resnet18_fpn",
    "retinanet": "retinanet_resnet18_fpn",
    "efficientdet": "efficientdet_d0",
}
SHOWN = ("AP", "AP50", "segm/AP", "segm/AP50", "keypoints/AP", "keypoints/AP50")
REFERENCE = OptimSettings(
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    schedule="multistep",
    milestones=(2 / 3, 11 / 12),
    warmup_steps=36,
    clip_norm=0,
    ema_decay=0,
)


EFFDET_REFERENCE = OptimSettings(
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=4e-5,
    warmup_steps=36,
    warmup_factor=0.1,
    final_factor=0.0,
    ema_decay=0.9966,
)


def torchvision_model(name: str, num_classes: int, version: int) -> nn.Module:
    """Its class on ResNet-18 (live batch norm, as torchvision has it without weights) and a 64-wide FPN.

    Version 2 of its RetinaNet has group norm in the heads and the GIoU loss, version 1 neither.
    """
    body = BackboneWithFPN(
        resnet18(weights=None),
        {"layer2": "0", "layer3": "1", "layer4": "2"},
        [128, 256, 512],
        WIDTH,
        extra_blocks=LastLevelP6P7(WIDTH, WIDTH),
    )
    shared = {"min_size": SHORT, "max_size": LONG, "score_thresh": 0.001, "detections_per_img": 100}
    if name == "fcos":
        return FCOS(body, num_classes, **shared)
    scales = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(scales, ((0.5, 1.0, 2.0),) * len(scales))
    if version == 1:
        return RetinaNet(body, num_classes, anchor_generator=anchors, **shared)
    head = RetinaNetHead(WIDTH, 9, num_classes, norm_layer=partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"
    return RetinaNet(body, num_classes, anchor_generator=anchors, head=head, **shared)


def peer_targets(targets: Targets) -> dict[str, Tensor]:
    """As torchvision wants them; its two-stage models count the background as class 0."""
    values = {"boxes": targets.boxes, "labels": targets.labels}
    if targets.masks is not None:
        values |= {"masks": targets.masks.to(torch.uint8)}
    if targets.keypoints is not None and targets.visibility is not None:
        values |= {"keypoints": torch.cat([targets.keypoints, targets.visibility[..., None]], 2)}
    return values


def peer_detections(found: dict[str, Tensor], targets: Targets, label_map: LabelMap) -> Detections:
    """Of one picture, as its model gives them."""
    return Detections(
        found["boxes"],
        found["scores"],
        found["labels"],
        targets.image_size,
        label_map,
        masks=found["masks"][:, 0] > 0.5 if "masks" in found else None,
        keypoints=found["keypoints"][..., :2] if "keypoints" in found else None,
        keypoint_scores=found.get("keypoints_scores"),
        image_id=targets.image_id,
    )


def train_peer(
    model: nn.Module, name: str, train, val, settings: TrainSettings, transform, optim: OptimSettings
) -> list[dict]:
    """Rows {"epoch", "seconds", "AP", "AP50"}."""
    optimizer = build_optimizer(model, optim)
    average = ModelAverage(model, optim.ema_decay) if optim.ema_decay else None
    plan = BatchPlan(images=train.annotations.sizes, batch_size=settings.batch_size, seed=settings.seed)
    step, total, seconds, rows = 0, settings.epochs * len(plan), 0.0, []
    for epoch in range(settings.epochs):
        model.train()
        since = perf_counter()
        for batch in make_loader(TrainingView(train, transform), plan.epoch(epoch)):
            losses = model(
                [picture / 255 for picture in batch.pictures], list(map(peer_targets, batch.targets))
            )
            sum(losses.values()).backward()
            if optim.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
            set_rate(optimizer, rate_factor(step, total, optim))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update(model, step)
            step += 1
        seconds += perf_counter() - since
        if (epoch + 1) % settings.val_every and epoch + 1 < settings.epochs:
            continue
        result = score_peer(average.model if average else model, val)
        rows.append({"epoch": epoch + 1, "seconds": seconds, **result})
        print(json.dumps({"peer": name, **rows[-1]}), flush=True)
    return rows


@torch.inference_mode()
def score_peer(model: nn.Module, val: DetectionDataset) -> dict[str, float]:
    model = copy.deepcopy(model).eval()
    evaluator = DetectionEvaluator(val.annotations.to_coco(), val.label_map)
    for picture, targets in (val[index] for index in range(len(val))):
        (found,) = model([picture / 255])
        evaluator.update(peer_detections(found, targets, val.label_map))
    return {key: value for key, value in evaluator.result().metrics.items() if key in SHOWN}


def train_pagoda(name: str, train, val, settings: TrainSettings, options: dict) -> list[dict]:
    torch.manual_seed(settings.seed)
    model = create_model(name, label_map=train.label_map, **options)
    run = train_on(model, train, val, settings, quiet=True)
    rows = [row for row in read_records(run.folder / "metrics.jsonl") if row["kind"] == "val"]
    rows = [{key: row[key] for key in ("epoch", "seconds", *SHOWN) if key in row} for row in rows]
    for row in rows:
        print(json.dumps({"pagoda": name, **row}), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the bccd folder")
    parser.add_argument("--models", nargs="+", default=["fcos", "retinanet"], choices=list(MODELS))
    systems = ["pagoda", "torchvision", "torchvision-v1", "torchvision+recipe", "effdet", "effdet+recipe"]
    parser.add_argument("--systems", nargs="+", default=systems[:2], choices=systems)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--val-every", type=int, default=1, help="epochs between scores")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument(
        "--learning-rate", type=float, default=None, help="of Pagoda's recipe; default: its own"
    )
    arguments = parser.parse_args()
    train = DetectionDataset(open_annotations(arguments.data, "train+val"))
    val = DetectionDataset(open_annotations(arguments.data, "test"))
    lines = ["| model | system | seed | AP | AP50 | best AP | training s |", "|---|---|--:|--:|--:|--:|--:|"]
    for seed in arguments.seeds:
        for name in arguments.models:
            for system in arguments.systems:
                rows = run_one(system, name, train, val, seed, arguments)
                last, best = rows[-1], max(row["AP"] for row in rows)
                lines.append(
                    f"| {name} | {system} | {seed} | {100 * last['AP']:.1f} | {100 * last['AP50']:.1f} |"
                    f" {100 * best:.1f} | {last['seconds']:.0f} |"
                )
    print("\n".join(lines))


def run_one(system: str, name: str, train, val, seed: int, arguments: argparse.Namespace) -> list[dict]:
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as out:
        settings = replace(
            small(str(Path(arguments.data)))
            if name == "efficientdet"
            else TrainSettings(data=arguments.data),
            epochs=arguments.epochs,
            seed=seed,
            out=out,
            precision=arguments.precision,
            val_every=arguments.val_every,
        )
        if arguments.learning_rate:
            settings = replace(settings, optim=replace(settings.optim, learning_rate=arguments.learning_rate))
        options = {"width": WIDTH, "short_side": SHORT, "long_side": LONG}
        if name == "efficientdet":
            options = {"canvas": CANVAS}
        if system == "pagoda":
            return train_pagoda(MODELS[name], train, val, settings, options)
        if system.endswith("+recipe"):
            like = create_model(MODELS[name], label_map=train.label_map, **options)
            transform, optim = training_transform(like, train, settings.augment), settings.optim
        else:
            sides = CANVAS if name == "efficientdet" else (SHORT, LONG)
            transform = Compose([Resize(*sides), HorizontalFlip(0.5)])
            optim = EFFDET_REFERENCE if system == "effdet" else REFERENCE
        torch.manual_seed(seed)
        model = peer_model(system, name, len(train.label_map))
        return train_peer(model, system, train, val, settings, transform, optim)


def peer_model(system: str, name: str, num_classes: int) -> nn.Module:
    if not system.startswith("effdet"):
        return torchvision_model(name, num_classes, 1 if system == "torchvision-v1" else 2)
    from effdet_peer import EffdetPeer  # effdet is for this comparison only

    return EffdetPeer("efficientdet_d0", num_classes, CANVAS)


if __name__ == "__main__":
    main()
