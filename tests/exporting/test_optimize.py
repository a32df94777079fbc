"""An optimised copy says what the original says, and the original stays as it was."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.exporting.optimize import conv_norm_pairs, fold_norms, optimize
from pagoda.follow.clips import detect_frames
from pagoda.layers.norm import FrozenBatchNorm2d
from pagoda.models import create_model
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.posetrack_skeletons import PERSON_17

sys.path.insert(0, str(Path(__file__).parent))
from small import small_darknet

pytestmark = pytest.mark.medium

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, FrozenBatchNorm2d)


def trained(name: str, norm: str):
    """Small, with statistics and scales that are not those of a new network."""
    model = create_model(name, num_classes=3, norm=norm, width=32, head_depth=1, short_side=96, long_side=200)
    nn.init.zeros_(model.class_head.predict.bias)
    return with_other_norms(model)


def with_other_norms(model):
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NORMS):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def of_clips(neck: str = "3d", norm: str = "frozen"):
    small = {"width": 32, "head_depth": 1, "short_side": 64, "long_side": 96}
    name = f"detect_and_track_resnet18_{neck}"
    model = with_other_norms(create_model(name, label_map=PERSON_17, norm=norm, **small))
    few = replace(model.proposals.inference, max_proposals=20)
    model.proposals = replace(model.proposals, inference=few)
    return model


def clips() -> ImageBatch:
    return ImageBatch(torch.randn(1, 3, 3, 64, 96), torch.tensor([[64, 90]]))


def images() -> ImageBatch:
    return ImageBatch(torch.randn(2, 3, 96, 128), torch.tensor([[96, 128], [90, 100]]))


def norms_of(model: nn.Module) -> int:
    return sum(isinstance(module, NORMS) for module in model.modules())


@pytest.mark.parametrize("norm", ["batch", "frozen"])
@pytest.mark.parametrize("name", ["fcos_resnet18_fpn", "retinanet_resnet50_fpn"])
def test_folded_equals_original(name, norm):
    model, batch = trained(name, norm), images()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    quick = optimize(model)
    with torch.no_grad():
        for ours, theirs in zip(quick(batch), model(batch), strict=True):
            if isinstance(theirs, torch.Tensor):
                torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert norms_of(quick) == 0 and norms_of(model) > 0
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_copy_is_in_evaluation_mode_as_a_whole():
    """Otherwise it is copied once more for every picture that it looks at."""
    quick = optimize(trained("fcos_resnet18_fpn", "batch").train())
    assert not any(module.training for module in quick.modules()) and evaluating(quick) is quick


def test_the_largest_maps_of_a_batch_stay_in_the_caches():
    model = trained("fcos_resnet18_fpn", "batch")
    assert optimize(model).backbone.spares_caches and not model.backbone.spares_caches


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_folded_clips_equal_the_original(norm):
    model, batch = of_clips("3d", norm), clips()
    quick = optimize(model)
    assert norms_of(model) == 20 and norms_of(quick) == 0
    weight = quick.backbone.layer2[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) and not weight.is_contiguous()
    with torch.no_grad():
        ours, theirs = quick(batch), model(batch)
    for name in ("scores", "boxes", "keypoint_logits", "class_logits"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-3, rtol=1e-3, msg=name)


def test_the_stage_in_the_box_head_is_folded_too():
    model = of_clips("c4_3d")
    quick = optimize(model)
    assert norms_of(quick) == 0 and norms_of(model.box_head) == 5
    pooled = torch.randn(2, 3, 256, 7, 7)
    with torch.no_grad():
        for ours, theirs in zip(quick.box_head(pooled), model.box_head(pooled), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_clips_in_half_precision_keep_their_geometry_in_full():
    model, batch = of_clips(), clips()
    quick = optimize(model, dtype=torch.bfloat16)
    quick.postprocess = quick.postprocess.with_limits(
        max_detections=4
    )  # poses of a hundred take half a minute
    with torch.no_grad():
        fine, coarse = (each.pyramid(each.frame_features(batch.pixels)) for each in (model, quick))
        (tubes,) = quick.detect_tubes(batch)
    for level, expected in fine.items():
        assert coarse[level].dtype == torch.bfloat16
        assert (coarse[level].float() - expected).abs().mean() < 0.02 * expected.std()
    assert len(tubes) and all(x.dtype == torch.float32 for x in (tubes.boxes, tubes.scores, tubes.keypoints))
    video = [torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8).numpy() for _ in range(4)]
    assert [each.frames for each in detect_frames(quick, video)] == [
        (0, 0, 1),
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 3),
    ]


def test_group_norm_stays():
    model = trained("fcos_resnet18_fpn", "group")
    groups = sum(isinstance(module, nn.GroupNorm) for module in model.modules())
    quick = optimize(model)
    assert fold_norms(quick) == 0
    assert sum(isinstance(module, nn.GroupNorm) for module in quick.modules()) == groups > 0


def test_half_precision_keeps_geometry_and_scores_in_full():
    model, batch = trained("retinanet_resnet18_fpn", "batch"), images()
    quick = optimize(model, dtype=torch.bfloat16)
    assert quick.backbone.conv1.weight.dtype == torch.bfloat16
    assert torch.equal(quick.anchors.of_cell(7), model.anchors.of_cell(7))
    with torch.no_grad():
        coarse, fine = quick(batch), model(batch)
        found = quick.detect(batch)
    assert all(priors.dtype == torch.float32 for priors in coarse.priors)
    difference = (coarse.class_logits.float() - fine.class_logits).abs().mean() / fine.class_logits.std()
    assert 0 < difference < 0.05
    assert len(found[0]) and found[0].boxes.dtype == found[0].scores.dtype == torch.float32


def test_fcos_decodes_in_full_precision():
    model = trained("fcos_resnet18_fpn", "batch")
    quick = optimize(model, dtype=torch.bfloat16)
    assert quick.scales.dtype == torch.float32
    with torch.no_grad():
        assert quick(images()).box_outputs.dtype == torch.float32


def test_predict_takes_pictures_as_before():
    model = trained("fcos_resnet18_fpn", "batch")
    picture = torch.randint(0, 256, (96, 120, 3), dtype=torch.uint8).numpy()
    ours, theirs = optimize(model).predict(picture), model.predict(picture)
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-3, rtol=1e-3)
    assert ours.image_size == (96, 120) and ours.names


def test_card_does_not_pretend_the_zoo_can_rebuild_it():
    model = trained("fcos_resnet18_fpn", "batch")
    assert optimize(model).card()["model"] is None and model.card()["model"] == "fcos_resnet18_fpn"


def test_unusable_precision_is_named():
    with pytest.raises(ValueError, match=r"float32, torch\.bfloat16 or torch\.float16, got torch\.int8"):
        optimize(trained("fcos_resnet18_fpn", "batch"), dtype=torch.int8)


class Shared(nn.Module):
    """Pairs that must not be folded, and one that may: conv → norm."""

    input_spec = InputSpec()

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.shared, self.first, self.second = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.left, self.right, self.both = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, batch: ImageBatch) -> torch.Tensor:
        x = self.norm(self.conv(batch.pixels))
        x = self.first(self.shared(x)) + self.second(self.shared(x))
        return self.both(self.left(x)) + self.both(self.right(x))


def test_shared_convolutions_and_norms_are_left_alone():
    model = Shared().eval()
    assert conv_norm_pairs(model) == [(model.conv, model.norm)]


def test_a_convolution_read_twice_is_left_alone():
    model = Shared().eval()
    model.forward = lambda batch: model.norm(y := model.conv(batch.pixels)) + model.shared(y)
    assert conv_norm_pairs(model) == []


def test_norms_of_timm_leave_their_activation():
    model = create_model("efficientdet_lite0", num_classes=2, canvas=(64, 64)).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
        batch = ImageBatch(torch.randn(1, 3, 64, 64), torch.tensor([[64, 64]]))
        quick, outputs = optimize(model), model(batch)
        folded = quick(batch)
    heads = 2 * 3 * 5  # a convolution of a head has a norm for each level
    left = sum(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert left == heads and norms_of(model) > 80
    torch.testing.assert_close(folded.class_logits, outputs.class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded.box_outputs, outputs.box_outputs, rtol=1e-4, atol=1e-5)


def test_darknets_norms_are_folded_with_their_own_epsilon() -> None:
    model = small_darknet()
    quick = optimize(model)
    assert not any("Norm" in type(layer).__name__ for layer in quick.modules())
    images = model.input_spec.batch([torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)])
    with torch.no_grad():
        for found, expected in zip(quick(images)[:3], model(images)[:3], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.medium
def test_levels_that_end_without_padding_are_looked_through():
    """SSD300's last two convolutions need a larger picture than others do to be watched."""
    torch.manual_seed(0)
    model = create_model("ssd300_vgg16", num_classes=2).eval()
    images = model.input_spec.prepare([torch.randint(256, (3, 90, 120), dtype=torch.uint8)])
    with torch.no_grad():
        ours, theirs = model(images), optimize(model)(images)
    torch.testing.assert_close(theirs.class_logits, ours.class_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(theirs.box_outputs, ours.box_outputs, rtol=1e-4, atol=1e-4)


class OfOneSize(Detector):
    """Somebody's own: its parts have other names, and it reads pictures of 96 × 96 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.input_spec = InputSpec()

    def forward(self, images: ImageBatch):
        if images.pixels.shape[-2:] != (96, 96):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return self.net(images.pixels)


def test_a_network_of_other_parts_and_size_is_copied_as_it_is():
    model, batch = OfOneSize().eval(), ImageBatch(torch.rand(2, 3, 96, 96), torch.tensor([[96, 96]] * 2))
    quick = optimize(model)
    assert conv_norm_pairs(quick) == []
    torch.testing.assert_close(quick(batch), model(batch))
    with pytest.raises(ValueError, match="OfOneSize has no part called backbone"):
        optimize(model, dtype=torch.bfloat16)
