"""What `create_model` can be asked for besides a name: it reaches the parts, travels with the card, or is refused."""

import json
from functools import partial

import pytest
import timm
import torch
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

from pagoda.convert.architecture.dense import backbone_architecture, dense_architecture
from pagoda.convert.architecture.rcnn import rcnn_architecture
from pagoda.layers.deform import DeformConv2d
from pagoda.models import create_model
from pagoda.necks.topology import qufpn_nodes
from pagoda.zoo.backbones import BackboneChoices, build_backbone
from pagoda.zoo.cards import model_from_card

pytestmark = pytest.mark.medium

BLOCKS = ((False,) * 3, (True, False, True, True), (False,) * 6, (True, True, False))


def deformable(model: nn.Module) -> tuple[tuple[bool, ...], ...]:
    stages = model.backbone.stages().values()
    return tuple(tuple(isinstance(b.conv2, DeformConv2d) for b in stage) for stage in stages)


def groups_of(part: nn.Module) -> set[int]:
    return {module.num_groups for module in part.modules() if isinstance(module, nn.GroupNorm)}


@pytest.mark.parametrize(
    ("name", "options", "read", "wanted"),
    [
        ("fcos_resnet18_fpn", {"num_stages": 3}, lambda m: sorted(m.backbone.channels), [3, 4]),
        ("fcos_resnet18_fpn", {"num_stages": 1}, lambda m: m.strides, {n: 2**n for n in range(2, 8)}),
        ("fcos_resnet18_pafpn", {"levels": (5, 4)}, lambda m: m.levels, [4, 5, 6, 7]),
        (
            "faster_rcnn_resnet18_fpn",
            {"levels": (3, 4)},
            lambda m: (m.roi_levels, m.levels),
            ([3, 4], [3, 4, 5, 6]),
        ),
        ("faster_rcnn_resnet18_fpn", {"num_stages": 2}, lambda m: m.roi_levels, [2, 3]),
        ("retinanet_resnet50_fpn", {"stem_channels": 24}, lambda m: m.backbone.conv1.weight.shape[0], 24),
        ("retinanet_resnet50_fpn", {"base_channels": 32}, lambda m: m.backbone.channels[5], 1024),
        (
            "retinanet_resnet50_fpn",
            {"avg_down": True},
            lambda m: type(m.backbone.layer2[0].downsample[0]),
            nn.AvgPool2d,
        ),
        (
            "mask_rcnn_resnet50_c4",
            {"base_channels": 16, "in_channels": 1},
            lambda m: m.mask_head.enlarge.in_channels,
            512,
        ),
        ("retinanet_resnet18_fpn", {"extra_from": "C5"}, lambda m: m.neck.extra["6"].in_channels, 512),
        ("faster_rcnn_resnet18_fpn", {"extra_from": "C5"}, lambda m: m.neck.extra["6"].in_channels, 512),
        (
            "faster_rcnn_resnet18_fpn",
            {"neck_relu": True, "neck_norm": "group"},
            lambda m: len(m.neck.output["2"]),
            3,
        ),
        (
            "fcos_resnet50_bifpn",
            {"fusion": "channel_softmax"},
            lambda m: m.neck.cells[0].nodes[0].weights.shape,
            (2, 256),
        ),
        (
            "fcos_resnet50_bifpn",
            {"topology": "qufpn"},
            lambda m: len(m.neck.cells[0].nodes),
            len(qufpn_nodes(3, 7)),
        ),
        (
            "fcos_resnet50_bifpn",
            {"activation": "relu"},
            lambda m: type(m.neck.cells[0].nodes[0].activation),
            nn.ReLU,
        ),
        ("efficientdet_d0", {"fusion": "sum"}, lambda m: m.neck.cells[0].nodes[0].weights, None),
        ("efficientdet_d0", {"topology": "panet"}, lambda m: len(m.neck.cells[0].nodes), 10),
        ("efficientdet_d0", {"in_channels": 1}, lambda m: m.backbone.body.conv_stem.weight.shape[1], 1),
        ("fcos_mobilenet_v2_fpn", {"in_channels": 4}, lambda m: m.backbone.features[0][0].in_channels, 4),
        ("fcos_ghostnet_100_fpn", {"in_channels": 1}, lambda m: m.backbone.conv_stem.in_channels, 1),
        ("fcos_timm:resnet18_fpn", {"in_channels": 1}, lambda m: m.input_spec.channels, 1),
        ("fcos_resnet18_fpn", {"in_channels": 1}, lambda m: m.input_spec.mean, pytest.approx((0.449,))),
        ("fcos_resnet18_fpn.original", {"in_channels": 4}, lambda m: m.input_spec.std, (1.0,) * 4),
        (
            "fcos_resnet18_fpn",
            {"in_channels": 4, "mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5, 0.5, 0.5, 1.0]},
            lambda m: (m.input_spec.mean, m.input_spec.std),
            ((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.5, 1.0)),
        ),
        (
            "retinanet_resnet50_fpn.bubbliiiing",
            {"fit": "stretch"},
            lambda m: m.input_spec.resized((30, 90)),
            (600, 600),
        ),
        (
            "fcos_resnet50_fpn",
            {"norm": "group", "neck_norm": "group", "norm_groups": 16},
            lambda m: [groups_of(part) for part in (m.backbone, m.neck, m.class_head)],
            [{16}, {16}, {16}],
        ),
        ("fcos_resnet50_fpn", {"deform": "v2", "deform_blocks": BLOCKS}, deformable, BLOCKS),
        (
            "fcos_resnet50_fpn",
            {"deform": "v1", "deform_fallback": True, "deform_fallback_on": "first"},
            lambda m: [sum(stage) for stage in deformable(m)],
            [0, 3, 6, 3],
        ),
        ("detect_and_track_resnet18_3d", {"time_kernel": 5}, lambda m: m.num_frames, 5),
        (
            "detect_and_track_resnet18_3d",
            {"time_kernel": 5},
            lambda m: (m.backbone.layer2[0].conv1.weight.shape[2], m.neck.output["2"].weight.shape[2]),
            (5, 5),
        ),
        (
            "detect_and_track_resnet18_c5_3d",
            {},
            lambda m: (m.strides, m.box_head.head.trunk[1].in_features),
            ({5: 32}, 512 * 49),
        ),
    ],
)
def test_options_reach_the_parts_and_travel(name: str, options: dict, read, wanted: object) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=2, **options)
        again = model_from_card(json.loads(json.dumps(model.card())))
    assert read(model) == wanted
    assert again.card() == model.card() and read(again) == wanted


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "fcos_resnet18_fpn",
            {"fusion": "sum"},
            "fcos_resnet18_fpn has no use for the option fusion='sum', which is for BiFPNs",
        ),
        (
            "fcos_resnet18_bifpn",
            {"extra_from": "C5"},
            "no use for the option extra_from='C5', which is for FPNs and PAFPNs",
        ),
        (
            "fcos_resnet18_fpn",
            {"fit": "stretch"},
            "option fit='stretch', which is for models that fit their pictures into a canvas",
        ),
        (
            "faster_rcnn_resnet50_c4",
            {"levels": (4,)},
            r"no use for the option levels=\(4,\), which is for pyramids",
        ),
        (
            "faster_rcnn_resnet50_dc5",
            {"num_stages": 3},
            "no use for .* num_stages=3, which is for pyramids on ResNets",
        ),
        (
            "efficientdet_d0",
            {"levels": (3, 4)},
            "efficientdet_d0 has no use for the option levels",
        ),
        (
            "fcos_mobilenet_v2_fpn",
            {"base_channels": 32},
            "fcos_mobilenet_v2_fpn has no use for .* base_channels=32, which is for ResNets",
        ),
        (
            "fcos_timm:resnet18_fpn",
            {"avg_down": True},
            "fcos_timm:resnet18_fpn has no use for .* avg_down=True, which is for ResNets",
        ),
        ("fcos_resnet18_fpn", {"mean": (0.5,)}, r"in_channels=3 needs 3 numbers in mean, got \(0.5,\)"),
        ("fcos_resnet18_fpn", {"in_channels": 2}, r"one channel \(grey\), three \(RGB\) or four \(RGBA\)"),
        ("fcos_resnet50_fpn", {"deform_blocks": BLOCKS}, "say which: deform='v1' or 'v2'"),
        (
            "fcos_resnet50_fpn",
            {"deform": "v2", "deform_blocks": BLOCKS[:3]},
            "has 3, 4, 6, 3 blocks in its stages, but deformable ones are told for 3, 4, 6",
        ),
        (
            "fcos_resnet50_fpn",
            {"deform": "v2", "deform_blocks": BLOCKS, "num_stages": 3},
            "has 3, 4, 6 blocks in its stages, but deformable ones are told for 3, 4, 6, 3",
        ),
        (
            "fcos_resnet18_fpn",
            {"num_stages": 2, "levels": (3, 4)},
            r"num_stages=2 has levels 2 … 3, got \(3, 4\)",
        ),
        ("fcos_resnet18_fpn", {"num_stages": 5}, "one to four stages, got num_stages=5"),
        (
            "fcos_resnet18_fpn",
            {"time_kernel": 3},
            "no use for .* time_kernel=3, which is for Detect-and-Track",
        ),
        (
            "detect_and_track_resnet18_3d",
            {"time_kernel": 4},
            "an odd number above 1 for necks called …3d, got 4",
        ),
        (
            "detect_and_track_resnet18_2d",
            {"time_kernel": 3},
            "time_kernel must be 1 for necks called …2d, got 3",
        ),
        (
            "detect_and_track_resnet18_3d",
            {"time_stride": True},
            "option time_stride=True, which is for .* c4_3d and c5_3d, one level over clips",
        ),
        (
            "detect_and_track_resnet18_c5_2d",
            {"time_stride": True},
            "resnet18_c5_2d has no use for the option time_stride=True",
        ),
        (
            "faster_rcnn_resnet18_fpn",
            {"time_stride": True},
            "faster_rcnn_resnet18_fpn has no use for .* time_stride",
        ),
        (
            "detect_and_track_resnet18_3d",
            {"in_channels": 1},
            "in_channels=1, which is for detectors of pictures",
        ),
        ("fcos_timm:inception_v4_fpn", {}, "'inception_v4' has 29 cells a side at level 3 of 256 pixels"),
    ],
)
def test_what_has_no_use_is_refused(name: str, options: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        create_model(name, num_classes=2, **options)


ORACLES = {
    "resnet34c": partial(TimmResNet, BasicBlock, (3, 4, 6, 3), stem_width=32, stem_type="deep"),
    "resnet152c": partial(TimmResNet, Bottleneck, (3, 8, 36, 3), stem_width=32, stem_type="deep"),
    "resnet152d": partial(timm.create_model, "resnet152d"),
    "resnext50d_32x4d": partial(timm.create_model, "resnext50d_32x4d"),
    "resnext50c_32x4d": partial(
        TimmResNet, Bottleneck, (3, 4, 6, 3), cardinality=32, base_width=4, stem_width=32, stem_type="deep"
    ),
    "resnet50 + avg_down": partial(TimmResNet, Bottleneck, (3, 4, 6, 3), avg_down=True),
}


@torch.no_grad()
@pytest.mark.parametrize(
    "form",
    # The depth is in 152c, the form in 50d.
    [pytest.param(form, marks=pytest.mark.slow if form == "resnet152d" else []) for form in ORACLES],
)
def test_forms_of_resnets_compute_what_timms_do(form: str) -> None:
    """Also that their tensors tell the name and the option."""
    torch.manual_seed(0)
    plain = ORACLES[form]().eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.weight.uniform_(0.2, 0.6)  # 152 layers stay within floats
    name, _, option = form.partition(" + ")
    options = {option: True} if option else {}
    backbone = build_backbone(name, BackboneChoices(levels=(2, 3, 4, 5), **options)).eval()
    state = {key: value for key, value in plain.state_dict().items() if not key.startswith("fc.")}
    assert backbone.load_state_dict(state)
    images = torch.randn(1, 3, 65, 97)
    x = plain.maxpool(plain.act1(plain.bn1(plain.conv1(images))))
    for level, found in backbone(images).items():
        x = getattr(plain, f"layer{level - 1}")(x)
        torch.testing.assert_close(found, x)
    told = backbone_architecture({key: tuple(value.shape) for key, value in state.items()})
    assert told == (name, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "retinanet_resnet50_fpn",
            {"levels": (4, 5), "base_channels": 32, "stem_channels": 16, "in_channels": 1},
        ),
        ("retinanet_resnet18_fpn", {"levels": (2,), "top_level": 4, "in_channels": 4}),
        ("retinanet_resnet18_fpn", {"levels": (3, 4), "extra_from": "C5", "neck_norm": "group"}),
        ("retinanet_resnext50d_32x4d_fpn", {}),
        ("retinanet_resnet50_fpn", {"avg_down": True, "base_channels": 48}),
        ("faster_rcnn_resnet50_fpn", {"levels": (3, 4), "in_channels": 1, "neck_norm": "group"}),
        ("mask_rcnn_resnet18_fpn", {"levels": (2, 3), "width": 64}),
    ],
)
def test_tensors_tell_levels_stem_and_channels(name: str, options: dict) -> None:
    with torch.device("meta"):
        shapes = {
            key: tuple(x.shape)
            for key, x in create_model(name, num_classes=3, **options).state_dict().items()
        }
    read = rcnn_architecture if "_rcnn_" in name else dense_architecture
    found = read(shapes, group_norm=False)
    assert f"{found.detector}_{found.backbone}_{found.neck}" == name
    told = {**found.options, **({"extra_from": found.extra_from} if found.extra_from else {})}
    with torch.device("meta"):
        again = create_model(name, num_classes=3, **told).state_dict()
    assert {key: tuple(x.shape) for key, x in again.items()} == shapes
