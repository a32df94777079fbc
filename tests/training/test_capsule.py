"""A capsule keeps all that a loss can look at."""

import torch

from pagoda.data.synthetic import DrawnShapes
from pagoda.training.capsule import SAVED, batch_losses, load_capsule, save_capsule
from pagoda.zoo.models import create_model


def test_masks_and_keypoints_come_back(tmp_path):
    data = DrawnShapes(2, (64, 64), seed=1)
    pictures, targets = zip(*(data[index] for index in range(2)), strict=True)
    model = create_model(
        "fcos_resnet18_fpn", label_map=data.label_map, width=32, head_depth=1, base_channels=16
    )
    content, again = load_capsule(save_capsule(tmp_path / "capsule.pt", model, pictures, targets))
    for one, other in zip(targets, again, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in SAVED)
        assert (one.image_size, one.file) == (other.image_size, other.file)
    before = batch_losses(model, pictures, targets, "fp32")
    assert batch_losses(model, content["pictures"], again, "fp32") == before
