"""Masks and keypoints on real pictures: Pagoda's two-stage models and torchvision's classes at the same budget.

python benchmarks/region_accuracy.py --data DIR/nuclei            # Mask R-CNN: boxes and masks of cell nuclei
python benchmarks/region_accuracy.py --data DIR/mirror_mouse      # Keypoint R-CNN: 17 points of a mouse

ResNet-18 from scratch, FPN 64 wide, heads as wide as torchvision derives them from that, the same pictures, size,
batch, epochs and evaluator. Learns from train, is scored on val.

* pagoda – `pagoda train mask_rcnn_resnet18_fpn --recipe rcnn_small`, with the changes in `SETTINGS`.
* torchvision – its MaskRCNN or KeypointRCNN class and its reference recipe: SGD 0.02 per 16 pictures, momentum 0.9,
  decay 1e-4, warm-up over the first epoch, ÷10 at 2/3 and 11/12 of the run, horizontal flips (of masks only).
* torchvision+recipe – the same class under Pagoda's recipe (optimiser, schedule, augmentation, average).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from accuracy import REFERENCE, SHOWN, WIDTH, train_pagoda, train_peer
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pagoda.data.augment.transforms import Compose, HorizontalFlip, Resize
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.recipes.by_name import rcnn_small
from pagoda.training.settings import AugmentSettings

SIDES = {"nuclei": (320, 400), "mirror_mouse": (256, 264)}
"""(shorter, longer) side the pictures are resized to"""
MODELS = {"nuclei": "mask_rcnn", "mirror_mouse": "keypoint_rcnn"}
SETTINGS = {
    "nuclei": replace(rcnn_small(""), augment=AugmentSettings(vertical_flip=0.5)),
    # Nobody says which points of the mouse change places in a mirror.
    "mirror_mouse": replace(rcnn_small(""), epochs=60, augment=AugmentSettings(horizontal_flip=0.0)),
}
SGD = replace(REFERENCE, learning_rate=0.005, warmup_steps=15)


class Peer(nn.Module):
    """A torchvision R-CNN whose classes are counted as ours are, without the background."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: list[Tensor], targets: list[dict[str, Tensor]] | None = None):
        if targets is not None:
            return self.model(pictures, [{**each, "labels": each["labels"] + 1} for each in targets])
        return [{**found, "labels": found["labels"] - 1} for found in self.model(pictures)]


def torchvision_model(name: str, num_classes: int, num_keypoints: int, sides: tuple[int, int]) -> Peer:
    """Its class on ResNet-18 (live batch norm, as torchvision has it without weights) and a 64-wide FPN."""
    body = BackboneWithFPN(
        resnet18(weights=None),
        {f"layer{number}": str(number - 1) for number in (1, 2, 3, 4)},
        [64, 128, 256, 512],
        WIDTH,
        extra_blocks=LastLevelMaxPool(),
    )
    shared = {
        "min_size": sides[0],
        "max_size": sides[1],
        "box_score_thresh": 0.001,
        "box_head": TwoMLPHead(WIDTH * 49, 4 * WIDTH),
        "box_predictor": FastRCNNPredictor(4 * WIDTH, num_classes + 1),
    }
    if name == "mask_rcnn":
        head = MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1)
        predictor = MaskRCNNPredictor(WIDTH, WIDTH, num_classes + 1)
        return Peer(MaskRCNN(body, mask_head=head, mask_predictor=predictor, **shared))
    head = KeypointRCNNHeads(WIDTH, (2 * WIDTH,) * 8)
    predictor = KeypointRCNNPredictor(2 * WIDTH, num_keypoints)
    return Peer(KeypointRCNN(body, keypoint_head=head, keypoint_predictor=predictor, **shared))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the nuclei or the mirror_mouse folder")
    systems = ["pagoda", "torchvision", "torchvision+recipe"]
    parser.add_argument("--systems", nargs="+", default=systems[:2], choices=systems)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float, help="of Pagoda's recipe; default: the preset's")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="of Pagoda's training")
    arguments = parser.parse_args()
    train = DetectionDataset(open_annotations(arguments.data, "train"))
    val = DetectionDataset(open_annotations(arguments.data, "val"))
    for seed in arguments.seeds:
        for system in arguments.systems:
            row = run_one(system, train, val, seed, arguments)[-1]
            values = ", ".join(f"{key} {100 * row[key]:.1f}" for key in SHOWN if key in row)
            print(f"{system} seed {seed}: {values}, {row['seconds']:.0f} s of training", flush=True)


def folder(arguments: argparse.Namespace) -> str:
    return Path(arguments.data).name


def run_one(system: str, train, val, seed: int, arguments: argparse.Namespace) -> list[dict]:
    kind = folder(arguments)
    name = f"{MODELS[kind]}_resnet18_fpn"
    sides, skeleton = SIDES[kind], train.label_map.skeleton
    options = {"width": WIDTH, "short_side": sides[0], "long_side": sides[1]}
    if MODELS[kind] == "keypoint_rcnn":
        options["num_keypoints"] = len(skeleton.names)
    with tempfile.TemporaryDirectory() as out:
        settings = replace(
            SETTINGS[kind],
            data=arguments.data,
            seed=seed,
            out=out,
            precision=arguments.precision,
            val_every=10,
        )
        if arguments.epochs:
            settings = replace(settings, epochs=arguments.epochs)
        if arguments.learning_rate:
            settings = replace(settings, optim=replace(settings.optim, learning_rate=arguments.learning_rate))
        if system == "pagoda":
            return train_pagoda(name, train, val, settings, options)
        if system == "torchvision+recipe":
            like = create_model(name, label_map=train.label_map, **options)
            transform, optim = training_transform(like, train, settings.augment), settings.optim
        else:
            flips = [] if skeleton is not None else [HorizontalFlip(0.5)]
            transform, optim = Compose([Resize(*sides), *flips]), SGD
        torch.manual_seed(seed)
        num_keypoints = len(skeleton.names) if skeleton is not None else 0
        model = torchvision_model(MODELS[kind], len(train.label_map), num_keypoints, sides)
        return train_peer(model, system, train, val, settings, transform, optim)


if __name__ == "__main__":
    main()
