"""Which options each kind of model has: all of them with their defaults, and none of the others'."""

import re
from dataclasses import fields

import pytest

from pagoda.models import create_model
from pagoda.zoo.composed_options import GROUPS
from pagoda.zoo.families import options_class, options_from, parse_name
from pagoda.zoo.options import MOST, ModelOptions

pytestmark = pytest.mark.medium

EVERY = "width backbone_weights take"
PIXELS, SIDES, CANVAS = "in_channels mean std", "short_side long_side", "canvas fit"
MOBILENET, GHOSTNET = "norm frozen_stages", "frozen_stages"
RESNET = f"""{MOBILENET} norm_groups deform deform_levels deform_groups deform_fallback deform_fallback_on
    deform_blocks plugins standardized stem_channels base_channels avg_down"""
NECK = "neck_norm top_level"
FPN = f"{NECK} neck_norm_on neck_relu extra_from norm_groups levels"
CELLS = f"{NECK} cells fusion topology activation"
BIFPN = f"{CELLS} levels"
TOWERS = "head_depth head_norm"
DENSE = f"{TOWERS} head_bias head_deform norm_groups"
CLIPS = f"""{SIDES} {MOBILENET} head_depth class_agnostic num_keypoints num_frames frame_interval link inflation
    time_kernel"""
OPTIONS = {
    "fcos_resnet18_fpn": f"{DENSE} {FPN} {RESNET} num_stages {PIXELS} {SIDES}",
    "fcos_mobilenet_v2_pafpn": f"{DENSE} {FPN} {MOBILENET} {PIXELS} {SIDES}",
    "retinanet_ghostnet_100_bifpn.torchvision": f"{DENSE} {BIFPN} {GHOSTNET} {PIXELS} {SIDES}",
    "retinanet_timm:resnet18_fpn": f"{DENSE} {FPN} {GHOSTNET} {PIXELS} {SIDES}",
    "retinanet_resnet50_fpn.bubbliiiing": f"{DENSE} {FPN} {RESNET} num_stages {PIXELS} {CANVAS}",
    "efficientdet_d0": f"{TOWERS} {CELLS} {GHOSTNET} drop_path_rate {PIXELS} {CANVAS}",
    "efficientdet_d0.toandaominh": f"cells mean std {CANVAS}",
    "efficientdet_resnet18_bifpn": f"{TOWERS} {BIFPN} {RESNET} num_stages {PIXELS} {CANVAS}",
    "efficientdet_mobilenet_v2_fpn": f"{TOWERS} activation {FPN} {MOBILENET} {PIXELS} {CANVAS}",
    "yolov1_tiny.darknet": f"num_boxes side layers {PIXELS} {CANVAS}",
    "yolov1_resnet18": f"num_boxes {TOWERS} levels {RESNET} num_stages {PIXELS} {CANVAS}",
    "yolov1_mobilenet_v2": f"num_boxes {TOWERS} levels {MOBILENET} {PIXELS} {CANVAS}",
    "ssd300_vgg16": f"box_sizes {PIXELS} {CANVAS}",
    "ssdlite320_mobilenet_v2.lufficc": f"box_sizes {PIXELS} {CANVAS}",
    "ssd_resnet18": f"{NECK} levels separable {RESNET} num_stages {PIXELS} {CANVAS}",
    "ssd_timm:resnet18": f"{NECK} levels separable {GHOSTNET} {PIXELS} {CANVAS}",
    "faster_rcnn_resnet18_fpn": f"class_agnostic head_norm {FPN} {RESNET} num_stages {PIXELS} {SIDES}",
    "faster_rcnn_resnet50_dc5": f"class_agnostic head_norm {RESNET} {PIXELS} {SIDES}",
    "mask_rcnn_resnet18_fpn": f"class_agnostic {TOWERS} {FPN} {RESNET} num_stages {PIXELS} {SIDES}",
    "mask_rcnn_resnet50_c4": f"class_agnostic {RESNET} {PIXELS} {SIDES}",
    "keypoint_rcnn_mobilenet_v2_fpn": (
        f"class_agnostic num_keypoints {TOWERS} {FPN} {MOBILENET} {PIXELS} {SIDES}"
    ),
    "detect_and_track_resnet18_3d": f"{CLIPS} top_level",
    "detect_and_track_resnet18_c4_3d.original": f"{CLIPS} time_stride",
    "detect_and_track_resnet18_c4_2d": CLIPS,
}
ALL = {field.name: field.default for group in GROUPS for field in fields(group)}
OF_EACH = pytest.mark.parametrize("name", OPTIONS)


def options_of(name: str) -> set[str]:
    return set(f"{EVERY} {OPTIONS[name]}".split())


def test_no_option_is_forgotten() -> None:
    assert set.union(*map(options_of, OPTIONS)) == set(ALL)
    named = [name for group in GROUPS for name in group.__annotations__]
    assert sorted(named) == sorted(ALL), "an option stands in one group, which the others inherit"


@OF_EACH
def test_a_model_takes_its_own_options_with_their_defaults(name: str) -> None:
    own = {option: ALL[option] for option in options_of(name)}
    kind = options_class(parse_name(name))
    assert {field.name: field.default for field in fields(kind)} == own
    assert options_from(own, parse_name(name)) == kind() and issubclass(kind, ModelOptions)


@OF_EACH
def test_a_model_refuses_the_options_of_others_by_name(name: str) -> None:
    for option in set(ALL) - options_of(name):
        said = rf"^{re.escape(name)} has no use for the option {option}=1, which is for .*; leave it out$"
        with pytest.raises(ValueError, match=said):
            create_model(name, num_classes=1, **{option: 1})


@OF_EACH
def test_a_misspelt_option_gets_the_nearest_of_the_model(name: str) -> None:
    for option in options_of(name):
        with pytest.raises(ValueError, match=rf"^{re.escape(name)} has no option '{option}x'; did you mean"):
            create_model(name, num_classes=1, **{f"{option}x": 1})


@pytest.mark.parametrize("option", MOST)
def test_numbers_have_limits(option: str) -> None:
    group = next(group for group in GROUPS if option in group.__dataclass_fields__)
    with pytest.raises(ValueError, match=f"{option} is a number up to {MOST[option]}, got"):
        group(**{option: MOST[option] + 1})
    assert getattr(group(**{option: MOST[option]}), option) == MOST[option]


def test_groups_of_norms_reach_heads_and_necks_of_any_backbone() -> None:
    model = create_model(
        "fcos_mobilenet_v2_fpn", num_classes=1, width=32, norm_groups=2, neck_norm="group", head_depth=1
    )
    for part in (model.neck, model.class_head):
        groups = {norm.num_groups for norm in part.modules() if hasattr(norm, "num_groups")}
        assert groups == {2}
