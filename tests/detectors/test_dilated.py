"""Where a stage is dilated instead of strided, cells lie closer together: everything that lies on them has to know."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet3d import ResNet3D
from pagoda.backbones.resnet_options import Body
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.retinanet import RetinaNet
from pagoda.explain.doctor.coverage import priors_at
from pagoda.explain.structure.describe import describe_model
from pagoda.heads.dense import DenseHead
from pagoda.heads.roi_box import BoxHead, BoxTrunk
from pagoda.heads.rpn import RPNHead
from pagoda.heads.separable import SeparableHead
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.fpn import FPN
from pagoda.necks.fpn3d import FPN3D
from pagoda.necks.pafpn import PAFPN
from pagoda.necks.topology import qufpn_nodes
from pagoda.ops.roi import RoIPooling
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets

pytestmark = pytest.mark.medium
# (stride, dilation) of the four stages, and the strides of P3 … P7 that follow
BODIES = {
    "last stage": (Body(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), {3: 8, 4: 16, 5: 16, 6: 32, 7: 64}),
    "last two": (Body(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), {3: 8, 4: 8, 5: 8, 6: 16, 7: 32}),
    "coarser start": (Body(strides=(2, 2, 2, 2)), {3: 16, 4: 32, 5: 64, 6: 128, 7: 256}),
}
NECKS: dict[str, Callable[..., nn.Module]] = {
    "fpn": FPN,
    "fpn from C5": partial(FPN, extra_from="C5"),
    "fpn, pooled": partial(FPN, extra_from="max_pool"),
    "pafpn": PAFPN,
    "pafpn with norm": partial(PAFPN, norm="group"),
    "bifpn": partial(BiFPN, cells=1),
    "qufpn, as TensorFlow pads": partial(BiFPN, cells=1, topology=qufpn_nodes, padding="same"),
}
SIDE = 256


def dense(kind: str, backbone: nn.Module, neck: nn.Module) -> nn.Module:
    layers = partial(SeparableHead) if kind == "efficientdet" else partial(DenseHead, norm="none")
    head = partial(layers, neck.channels, depth=1)
    if kind == "fcos":
        return FCOS(backbone, neck, class_head=head(outputs=2), box_head=head(outputs=5))
    build = RetinaNet if kind == "retinanet" else EfficientDet
    return build(backbone, neck, class_head=head(outputs=9 * 2), box_head=head(outputs=9 * 4))


def images() -> ImageBatch:
    return ImageBatch(torch.rand(1, 3, SIDE, SIDE), torch.tensor([[SIDE, SIDE]]))


def centers(priors: Tensor, per_cell: int) -> Tensor:
    """(cells, 2) where the first prior of each cell has its middle."""
    first = priors[::per_cell]
    return first if first.shape[1] == 2 else (first[:, :2] + first[:, 2:]) / 2


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *(("fcos", body) for body in BODIES),
        ("retinanet", "last stage"),
        ("efficientdet", "last stage"),
    ],
)
def test_points_and_anchors_cover_the_picture(kind: str, body: str, neck: str) -> None:
    options, strides = BODIES[body]
    backbone = ResNet(18, body=options)
    model = dense(kind, backbone, NECKS[neck](backbone.channels, 32)).eval()
    assert model.strides == model.neck.strides == strides
    with torch.no_grad():
        outputs = model(images())
    per_cell = 1 if kind == "fcos" else 9
    for level, priors in zip(model.levels, outputs.priors, strict=True):
        stride, found = strides[level], centers(priors, per_cell)
        first = 0.0 if kind == "retinanet" else stride / 2  # detectron2's anchors sit on corners
        axis = first + stride * torch.arange(SIDE // stride)
        wanted = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
        torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(priors_at(model, (SIDE, SIDE)), outputs.priors, strict=True):
        assert torch.equal(ours, theirs)  # what the doctor lays out without running the model


def test_anchors_are_as_large_as_their_strides_say() -> None:
    backbone = ResNet(18, body=BODIES["last stage"][0])
    model = dense("retinanet", backbone, FPN(backbone.channels, 32))
    sides = {level: float(model.anchors.of_cell(level)[1].diff()[1]) for level in model.levels}
    assert sides == {3: 32.0, 4: 64.0, 5: 64.0, 6: 128.0, 7: 256.0}


def test_distances_and_centre_sampling_count_true_strides() -> None:
    torch.manual_seed(0)
    backbone = ResNet(18, body=BODIES["last stage"][0])
    model = dense("fcos", backbone, FPN(backbone.channels, 32))
    counts = [(SIDE // stride) ** 2 for stride in model.strides.values()]
    raw = torch.ones(1, sum(counts), 4)
    points = model.points(
        {n: torch.zeros(1, 1, SIDE // s, SIDE // s) for n, s in model.strides.items()}, (SIDE, SIDE)
    )
    distances = model._distances(raw, points)[0, :, 0].split(counts)
    assert [each[0].item() for each in distances] == [8, 16, 16, 32, 64]
    # 300 pixels wide: P5's, and positive are the cells within 1.5 strides of its centre
    box = torch.tensor([[-22.0, -22.0, 278.0, 278.0]])
    target = Targets(
        boxes=box, labels=torch.tensor([0]), image_size=(SIDE, SIDE), ignored=torch.tensor([False])
    )
    index = model.criterion.assign(points, model.levels, box, model.strides)
    assert [int((part >= 0).sum()) for part in index.split(counts)] == [0, 0, 4, 0, 0]
    seen = []
    real = type(model.criterion).assign

    def spy(*arguments: object) -> Tensor:
        seen.append(arguments[-1])
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.criterion), "assign", spy)
        losses = model.losses(images(), [target])
    assert seen == [model.strides] and all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize(
    ("levels", "neck"), [((2, 3, 4, 5), "fpn, pooled"), ((3, 4, 5), "bifpn"), ((5,), None)]
)
def test_regions_and_their_anchors_follow(levels: tuple[int, ...], neck: str | None) -> None:
    backbone = ResNet(18, levels=levels, body=BODIES["last stage"][0])
    pyramid = NECKS[neck](backbone.channels, 32, top_level=6) if neck else None
    channels = (pyramid or backbone).channels
    trunk = BoxTrunk(channels[levels[0]], 7, width=16)
    model = RCNN(
        backbone,
        pyramid,
        rpn_head=RPNHead(channels, 3),
        box_head=BoxHead(trunk, 2, pooling=RoIPooling()),
    ).eval()
    wanted = {2: 4, 3: 8, 4: 16, 5: 16, 6: 32}
    assert model.strides == {level: wanted[level] for level in channels}
    with torch.no_grad():
        found = model.propose(images(), model.proposals.inference)
    for level, anchors in zip(model.levels, found.rpn.anchors, strict=True):
        last = centers(anchors, 3)[-1]
        assert last.tolist() == [SIDE - wanted[level]] * 2  # corners of cells


def test_a_whole_box_is_pooled_from_the_whole_map() -> None:
    """Of a level of stride 16, though its number is 5."""
    backbone = ResNet(18, levels=(5,), body=BODIES["last stage"][0])
    head = BoxHead(BoxTrunk(512, 4, width=16), 2, pooling=RoIPooling(resolution=4, sampling_ratio=4))
    model = RCNN(backbone, None, rpn_head=RPNHead(backbone.channels, 3), box_head=head)
    ramp = torch.arange(16.0).expand(1, 512, 16, 16)
    pooled = model.pool(head, {5: ramp}, torch.tensor([[0.0, 0.0, SIDE, SIDE]]), torch.tensor([0]))
    torch.testing.assert_close(pooled[0, 0, 0, 1:3], torch.tensor([5.5, 9.5]))


def test_clips_have_their_bodys_strides_too() -> None:
    backbone = ResNet3D(18, levels=(3, 4, 5))
    backbone.strides = {3: 8, 4: 16, 5: 16}
    neck = FPN3D(backbone.channels, 16)
    model = DetectAndTrack(
        backbone,
        neck,
        rpn_head=RPNHead(neck.channels, 3),
        box_head=BoxHead(BoxTrunk(16, 7, width=8), 1, pooling=RoIPooling()),
    )
    assert model.strides == model.anchors.strides == {3: 8, 4: 16, 5: 16, 6: 32}


def test_the_description_tells_the_same_strides() -> None:
    backbone = ResNet(18, body=BODIES["last stage"][0])
    model = dense("retinanet", backbone, FPN(backbone.channels, 32))
    told = describe_model(model, (SIDE, SIDE))
    assert {row.level: (row.stride, row.size) for row in told.levels} == {
        3: (8, (32, 32)),
        4: (16, (16, 16)),
        5: (16, (16, 16)),
        6: (32, (8, 8)),
        7: (64, (4, 4)),
    }


def test_a_stage_may_not_come_closer_again() -> None:
    backbone = ResNet(18)
    backbone.strides = {3: 8, 4: 16, 5: 8}
    with pytest.raises(
        ValueError, match=r"a level's stride must be a multiple of the one below, got P3 8, P4 16, P5 8"
    ):
        dense("fcos", backbone, FPN(backbone.channels, 32))


def test_a_neck_of_ones_own_need_not_know() -> None:
    class Lateral(nn.Module):
        def __init__(self, channels: dict[int, int]) -> None:
            super().__init__()
            self.channels = dict.fromkeys(channels, 16)
            self.layers = nn.ModuleDict({str(n): nn.Conv2d(c, 16, 1) for n, c in channels.items()})

        def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
            return {level: self.layers[str(level)](x) for level, x in features.items()}

    backbone = ResNet(18, body=BODIES["last stage"][0])
    assert dense("fcos", backbone, Lateral(backbone.channels)).strides == {3: 8, 4: 16, 5: 16}
