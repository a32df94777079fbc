"""Appearance is RoIAlign over the finest features that the heads read, for every family, and it tells objects apart."""

import threading

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from pagoda.detectors.appearance import PyramidWatch, pool_appearance
from pagoda.models import create_model

pytestmark = pytest.mark.medium

SMALL = {"base_channels": 8, "width": 16, "norm_groups": 4}
FAMILIES = {
    "fcos_resnet18_fpn": SMALL,
    "retinanet_resnet18_fpn": {"width": 16, "head_depth": 1},
    "efficientdet_d0": {"canvas": (64, 64)},
    "faster_rcnn_resnet18_fpn": {"width": 16},
    "faster_rcnn_resnet18_c4": {},
    "ssd_resnet18": {"canvas": (64, 64)},
    "yolov1_resnet18": {"canvas": (64, 64), "levels": (4,), "width": 16},
    "detect_and_track_resnet18_3d": {"width": 16, "head_depth": 1},
    "detect_and_track_resnet18_c4_3d": {},
}
BOXES = torch.tensor([[4.0, 4, 30, 60], [20, 10, 60, 40]])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_what_objects_look_like(name):
    model = create_model(name, num_classes=1, **FAMILIES[name]).eval()
    pictures = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    images = model.input_spec.batch(list(pictures))
    seen = {}
    part = model.neck if getattr(model, "neck", None) is not None else model.backbone
    with torch.no_grad(), PyramidWatch(model) as watch:
        if part is not model.backbone:
            part.register_forward_hook(lambda _, inputs, found: seen.update(found))
        if model.sees_clips:
            model.detect_tubes(images)
        else:
            model.detect(images)
        looks = watch.appearance(BOXES, torch.zeros(2, dtype=torch.long))
        if not seen:
            clip = (
                images.pixels[:, :, None].expand(-1, -1, model.num_frames, -1, -1)
                if model.sees_clips
                else None
            )
            seen = model.backbone(images.pixels if clip is None else clip)
    level = min(seen)
    features = seen[level] if seen[level].ndim == 4 else seen[level][:, :, seen[level].shape[2] // 2]
    cells = roi_align(features, [BOXES], 4, 1 / model.strides[level], 2, aligned=True)
    plain = torch.stack([cells[..., :2].mean(-1), cells[..., 2:].mean(-1)], -1).flatten(1)
    torch.testing.assert_close(looks, plain / plain.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_after_the_block_nothing_is_watched():
    model = create_model("fcos_resnet18_fpn", num_classes=1, **SMALL).eval()
    with PyramidWatch(model):
        assert len(model.neck._forward_hooks) == 1
    assert not model.neck._forward_hooks


def test_threads_see_what_they_computed_themselves():
    model = create_model("fcos_resnet18_fpn", num_classes=1, **SMALL).eval()
    pictures = [torch.full((3, 64, 64), shade, dtype=torch.uint8) for shade in (10, 200)]
    box, looks, meet = BOXES[:1], {}, threading.Barrier(2)

    def look(number):
        model.predict(pictures[number])
        meet.wait(30)  # both have computed before one asks
        looks[number] = watch.appearance(box, torch.tensor([0]))

    with PyramidWatch(model) as watch:
        threads = [threading.Thread(target=look, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(2):
            model.predict(pictures[number])
            torch.testing.assert_close(watch.appearance(box, torch.tensor([0])), looks[number])


def test_what_looks_alike_is_near_and_what_does_not_is_far():
    features = torch.zeros(1, 8, 16, 16)
    features[0, :, 2:8, 2:5] = torch.rand(8, 1, 1)
    features[0, :, 2:8, 10:13] = features[0, :, 2:8, 2:5]
    features[0, :, 9:15, 2:5] = torch.rand(8, 1, 1)
    boxes = torch.tensor([[2.0, 2, 5, 8], [10, 2, 13, 8], [2, 9, 5, 15]]) * 8
    a, twin, other = pool_appearance(features, boxes, torch.zeros(3, dtype=torch.long), stride=8.0).numpy()
    assert np.allclose(a, twin, atol=1e-5) and a @ other < a @ twin - 0.01
