"""EfficientDet composed of small parts: any size, any batch, anchors on the picture's own grid."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pagoda.criteria.efficientdet import EfficientDetCriterion
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.exporting.program import export_forward
from pagoda.heads.separable import SeparableHead
from pagoda.necks.bifpn import BiFPN
from pagoda.ops.anchors import StretchedAnchors
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets

pytestmark = pytest.mark.medium


class Strides(nn.Module):
    """Three strided convolutions, padded so that sizes halve and round up."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {3: 8, 4: 12, 5: 16}
        self.stem = nn.Conv2d(3, 8, 15, 8, padding=7)
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 3, 2, padding=1) for a, b in ((8, 12), (12, 16)))

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        maps = [self.stem(pictures)]
        for step in self.steps:
            maps.append(step(maps[-1]))
        return dict(zip(self.channels, maps, strict=True))


def small(num_classes: int = 3, *, norm: str = "frozen", **options) -> EfficientDet:
    backbone = Strides()
    neck = BiFPN(backbone.channels, 16, cells=2, norm=norm)
    head = partial(SeparableHead, neck.channels, depth=1, norm=norm)
    return EfficientDet(
        backbone, neck, class_head=head(outputs=9 * num_classes), box_head=head(outputs=36), **options
    )


def random_batch(*size: int, images: int = 1) -> ImageBatch:
    return ImageBatch(torch.randn(images, 3, *size), torch.tensor([size] * images))


@pytest.mark.parametrize("size", [(128, 128), (320, 320), (511, 513), (600, 800), (8, 8), (1, 1)])
def test_any_size_runs(size: tuple[int, int]) -> None:
    model = small(prior_probability=None).eval()
    images = random_batch(*size, images=2)
    grids = [(-(-size[0] // 2**level), -(-size[1] // 2**level)) for level in range(3, 8)]
    with torch.no_grad():
        outputs = model(images)
        found = model.detect(images)
    assert [len(prior) for prior in outputs.priors] == [9 * height * width for height, width in grids]
    assert len(found) == 2 and all(0 < len(each) <= 100 for each in found)
    for (height, width), prior in zip(grids, outputs.priors, strict=True):
        centers = (prior[:, :2] + prior[:, 2:]) / 2
        first = torch.tensor([size[1] / width, size[0] / height]) / 2
        torch.testing.assert_close(centers[0], first)
        torch.testing.assert_close(
            centers[-1], torch.tensor([size[1], size[0]]) - first, rtol=1e-5, atol=1e-4
        )


def test_fewer_candidates_than_asked_for_and_nothing_found() -> None:
    model = small(1).eval()
    with torch.no_grad():
        everything = SelectFromAllLevels(min_score=0.0, max_detections=None)
        (found,) = model.detect(random_batch(128, 128), postprocess=everything)
        (nothing,) = model.detect(random_batch(128, 128))
    assert len(found) and len(nothing) == 0  # classes start at one in a hundred


def test_one_image_equals_a_batch() -> None:
    model = small().eval()
    images = random_batch(96, 160, images=3)
    with torch.no_grad():
        together, alone = model(images), model(ImageBatch(images.pixels[1:2], images.sizes[1:2]))
    torch.testing.assert_close(alone.class_logits[0], together.class_logits[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.box_outputs[0], together.box_outputs[1], rtol=1e-4, atol=1e-5)


def test_losses_reach_every_parameter_and_the_count_travels_with_the_weights() -> None:
    model = small(norm="group", criterion=EfficientDetCriterion(count_momentum=0.99)).train()
    target = Targets(
        torch.tensor([[10.0, 20, 90, 100], [100, 100, 108, 109]]),
        torch.tensor([0, 2]),
        (256, 256),
        torch.zeros(2, dtype=torch.bool),
    )
    losses = model.losses(random_batch(256, 256, images=2), [target, Targets.empty((256, 256))])
    assert list(losses) == ["loss_class", "loss_box"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.state_dict()["running_count.mean"] > 1
    assert "running_count.mean" not in small().state_dict()


@pytest.mark.slow
def test_exported_forward_equals_eager_at_other_sizes() -> None:
    model = small().eval()
    program = export_forward(model).module()
    for size in ((64, 96), (160, 224)):
        images = random_batch(*size)
        with torch.no_grad():
            exported, eager = program(images), model(images)
        torch.testing.assert_close(exported.class_logits, eager.class_logits)
        torch.testing.assert_close(exported.box_outputs, eager.box_outputs)
        torch.testing.assert_close(torch.cat(exported.priors), torch.cat(eager.priors))


def test_heads_that_do_not_fit_the_anchors_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"6 anchors per location needs heads of 6·classes and 24 outputs, got 27"
    ):
        small(anchors=StretchedAnchors(octaves=2))
