"""What goes through the transforms follows the model's heads, and data that do not fit stop before training."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pagoda.data.augment.transforms import Carry, Mosaic
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder
from pagoda.preprocess import InputSpec
from pagoda.recipes.augmentation import training_transform
from pagoda.recipes.target_fields import check_keypoints, lighten, what_to_carry
from pagoda.structures.skeleton import Skeleton
from pagoda.training.settings import AugmentSettings

SPEC = InputSpec(short_side=64, long_side=64)
BOXES = SimpleNamespace(input_spec=SPEC, learns=frozenset())
MASKS = SimpleNamespace(input_spec=SPEC, learns={"masks"})
HEAD = SimpleNamespace(num_keypoints=4)
POSES = SimpleNamespace(input_spec=SPEC, learns={"keypoints"}, keypoint_head=HEAD)
ALWAYS = AugmentSettings(mosaic=1.0, iou_crop=1.0, horizontal_flip=1.0)


@pytest.mark.parametrize(
    ("model", "carried"),
    [(BOXES, set()), (MASKS, {"masks"}), (POSES, {"keypoints", "visibility"})],
    ids=["boxes", "masks", "keypoints"],
)
def test_what_is_learnt_goes_through_everything(model, carried):
    data = DrawnShapes(6, (64, 64), seed=2)
    transform = training_transform(model, data, ALWAYS)
    for index in range(6):
        torch.manual_seed(index)
        _, targets = transform(*data[index])
        found = {name for name in ("masks", "keypoints", "visibility") if getattr(targets, name) is not None}
        assert found == carried


def test_a_mosaic_prepares_the_pictures_it_draws():
    data = DrawnShapes(4, (64, 64), seed=2, empty_share=0)
    carry = Carry(masks=True)
    sample = carry(*data[0])
    with pytest.raises(ValueError, match="must all carry"):
        Mosaic(data, (64, 64), p=1.0)(*sample)
    _, targets = Mosaic(data, (64, 64), p=1.0, prepare=carry)(*sample)
    assert targets.masks is not None and targets.keypoints is None


def test_boxes_alone_decode_no_masks(tmp_path):
    write_coco_folder(DrawnShapes(2, (64, 64)), tmp_path)
    data = DetectionDataset(open_annotations(tmp_path))
    assert lighten(data, BOXES).annotations.masks is None
    assert lighten(data, MASKS) is data
    drawn = DrawnShapes(2, (64, 64))
    assert lighten(drawn, BOXES) is drawn


def test_keypoints_that_do_not_fit_stop_before_training():
    labels = DrawnShapes(1).label_map
    check_keypoints(POSES, labels, ALWAYS)
    check_keypoints(BOXES, replace(labels, skeleton=None), ALWAYS)
    with pytest.raises(ValueError, match="has a keypoint head, but the data set has no keypoints"):
        check_keypoints(POSES, replace(labels, skeleton=None), ALWAYS)
    with pytest.raises(ValueError, match="predicts 4 keypoints but the skeleton names 2: a, b"):
        check_keypoints(POSES, replace(labels, skeleton=Skeleton(("a", "b"))), ALWAYS)
    unknown = replace(labels, skeleton=Skeleton(("a", "b", "c", "d")))
    with pytest.raises(
        ValueError, match="nobody says which keypoints change places in a mirror: add flip_pairs"
    ):
        check_keypoints(POSES, unknown, ALWAYS)
    yolo = replace(unknown.skeleton, flip_remedy="add flip_idx to data.yaml")
    with pytest.raises(ValueError, match=r"in a mirror: add flip_idx to data\.yaml, or train with"):
        check_keypoints(POSES, replace(labels, skeleton=yolo), ALWAYS)
    check_keypoints(POSES, unknown, replace(ALWAYS, horizontal_flip=0.0, vertical_flip=0.0))
    assert what_to_carry(POSES) == Carry(keypoints=True)
