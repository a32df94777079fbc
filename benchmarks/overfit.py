"""Twelve photos learned by heart: boxes, masks and keypoints of one network on COCO's own annotations.

python benchmarks/overfit.py --data DIR/coco_tiny

A Mask R-CNN on ResNet-18 that has a keypoint head, too (composed here from parts), from scratch; scored on the very
pictures it learned from. What it shows: that all three branches, the data and the evaluation belong together.
"""

import argparse
import tempfile

import torch

from pagoda.backbones.resnet import ResNet
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.detectors.rcnn import RCNN
from pagoda.heads.roi_box import BoxHead, BoxTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.necks.fpn import FPN
from pagoda.ops.roi import RoIPooling
from pagoda.preprocess import InputSpec
from pagoda.recipes.training_run import train_on
from pagoda.structures.labels import LabelMap
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings

WIDTH, SIDES = 96, (320, 480)


def all_branches(labels: LabelMap) -> RCNN:
    """Faster R-CNN with a mask head and a keypoint head."""
    backbone = ResNet(18, levels=(2, 3, 4, 5), norm="group")
    neck = FPN(backbone.channels, WIDTH, top_level=6, extra_from="max_pool")
    coarse, fine = RoIPooling(sampling_ratio=2), RoIPooling(resolution=14, sampling_ratio=2)
    assert labels.skeleton is not None
    return RCNN(
        backbone,
        neck,
        rpn_head=RPNHead(neck.channels, 3),
        box_head=BoxHead(BoxTrunk(WIDTH, 7, width=4 * WIDTH), len(labels), pooling=coarse),
        mask_head=MaskHead(WIDTH, len(labels), pooling=fine, depth=2, width=WIDTH),
        keypoint_head=KeypointHead(WIDTH, len(labels.skeleton), pooling=fine, depth=4, width=2 * WIDTH),
        label_map=labels,
        input_spec=InputSpec(short_side=SIDES[0], long_side=SIDES[1]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the coco_tiny folder")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    arguments = parser.parse_args()
    photos = DetectionDataset(open_annotations(arguments.data, "person_keypoints_train"))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as out:
        settings = TrainSettings(
            data=arguments.data,
            epochs=arguments.epochs,
            batch_size=4,
            val_every=20,
            precision=arguments.precision,
            out=out,
            optim=OptimSettings(learning_rate=5e-4, weight_decay=0.0, ema_decay=0.99),
            augment=AugmentSettings(scale_range=(1.0, 1.0), horizontal_flip=0.0),
        )
        run = train_on(all_branches(photos.label_map), photos, photos, settings)
    print(run.result.table())


if __name__ == "__main__":
    main()
