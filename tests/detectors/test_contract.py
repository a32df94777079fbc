"""What others ask of a model, every family answers: which frames it looks at, and what it learns besides boxes."""

import pytest
import torch

from pagoda.models import create_model
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17

SMALL = {"width": 32}


@pytest.mark.parametrize(
    ("name", "learns"),
    [
        ("fcos_resnet18_fpn", set()),
        ("efficientdet_resnet18_bifpn", set()),
        ("faster_rcnn_resnet18_fpn", set()),
        ("mask_rcnn_resnet18_fpn", {"masks"}),
        ("keypoint_rcnn_resnet18_fpn", {"keypoints"}),
    ],
)
def test_detectors_of_pictures(name, learns):
    with torch.device("meta"):
        model = create_model(name, label_map=PERSON_17, **SMALL)
    assert (model.sees_clips, tuple(model.frames_around)) == (False, (0,))
    assert model.learns == learns
    images = ImageBatch(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]]))
    with pytest.raises(TypeError, match="looks at single pictures, where objects are no tubes"):
        model.detect_tubes(images)
    with pytest.raises(TypeError, match="looks at single pictures, not at frames of clips"):
        model.frame_features(images.pixels)


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, (-1, 0, 1)),
        ({"num_frames": 4, "frame_interval": 2}, (-4, -2, 0, 2)),
        ({"num_frames": 1, "frame_interval": 3}, (0,)),
    ],
)
def test_detectors_of_clips(options, frames):
    with torch.device("meta"):
        model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL, **options)
    assert (model.sees_clips, model.frames_around) == (True, frames)
    assert model.learns == {"keypoints"}


def test_a_head_taken_away_is_not_learnt():
    with torch.device("meta"):
        model = create_model("mask_rcnn_resnet18_fpn", label_map=LabelMap.numbered(2), **SMALL)
    model.mask_head = None
    assert model.learns == set()
