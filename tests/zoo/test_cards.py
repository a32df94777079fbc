"""Checkpoints are checked before there is memory for them, and what is loaded is the model that was saved."""

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pagoda.convert.read import convert
from pagoda.convert.write_checkpoint import write_for
from pagoda.models import create_model, load
from pagoda.weights.files import WeightsError, read_card, save_weights
from pagoda.zoo.cards import model_from_card
from pagoda.zoo.families import FAMILIES

pytestmark = pytest.mark.medium

SMALL = {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 64}
MODELS: dict[str, dict[str, Any]] = {
    "fcos_resnet18_fpn": {**SMALL, "frozen_stages": 3, "norm": "frozen"},
    "retinanet_resnet18_bifpn": SMALL,
    "efficientdet_ghostnet_100_bifpn": {"width": 16},
    "keypoint_rcnn_resnet18_fpn": {"width": 16, "num_keypoints": 3, "short_side": 64},
    "detect_and_track_resnet18_3d": {"width": 16, "short_side": 64},
}
SWIN = "fcos_timm:swinv2_cr_tiny_ns_224_fpn"
"""computes tables that are not saved, in memory that is only shaped at first"""


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Asking for `more` bytes beyond what the process has fails within."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", [*MODELS, pytest.param(SWIN, marks=pytest.mark.medium)])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, name: str) -> None:
    model = create_model(name, num_classes=2, **MODELS.get(name, SMALL)).eval()
    path = save_weights(tmp_path / "a.safetensors", model.state_dict(), model.card())
    again = load(path)
    path.write_bytes(b"")  # the numbers are in memory
    for tensors in ("named_parameters", "named_buffers"):
        wanted, got = dict(getattr(model, tensors)()), dict(getattr(again, tensors)())
        assert wanted.keys() == got.keys()
        for key, tensor in wanted.items():
            assert torch.equal(got[key], tensor), key
            assert got[key].requires_grad == tensor.requires_grad and got[key].dtype == tensor.dtype
            assert got[key].is_contiguous() and type(got[key]) is type(tensor)
    assert json.dumps(again.card()) == json.dumps(model.card())
    assert not any(module.training for module in again.modules())


def test_another_programs_weights_are_taken_over_not_shared(tmp_path: Path) -> None:
    model = create_model("fcos_resnet50_fpn.improved", num_classes=2, width=64)
    write_for(model, "fcos", tmp_path / "FCOS_imprv_R_50.pth")
    again = convert(tmp_path / "FCOS_imprv_R_50.pth").model
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    places = [tensor.untyped_storage().data_ptr() for tensor in again.state_dict().values()]
    assert len(set(places)) == len(places)
    assert all(
        p.requires_grad == q.requires_grad
        for p, q in zip(again.parameters(), model.parameters(), strict=True)
    )


def test_half_precision_is_read_as_the_model_computes(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn", num_classes=2, **SMALL)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    again = load(save_weights(tmp_path / "a.safetensors", halves, model.card()))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    halves["scales"] = torch.ones(5, dtype=torch.int32)
    with pytest.raises(WeightsError, match=r"b\.safetensors .* 1 of whole numbers .*\(scales"):
        load(save_weights(tmp_path / "b.safetensors", halves, model.card()))


@cache
def card_of_small() -> str:
    return json.dumps(create_model("fcos_resnet18_fpn", num_classes=2, **SMALL).card())


def card_with(path: str, value: Any) -> dict[str, Any]:
    """The card of a small model with another value in the place of one."""
    card = json.loads(card_of_small())
    entry, *inner = path.split(".")
    target = card
    for key in inner:
        target, entry = target[entry], key
    target[entry] = value
    return card


REFUSED: list[tuple[str, Any, str]] = [
    ("options.width", 2**14, "does not fit the model its card describes: 149 missing"),
    ("model", "fcos_resnext50_9999999x4d_fpn", "does not fit|cannot be used"),
    ("options.width", 100_000, "width is a number up to 16384, got 100000"),
    ("options.head_depth", 10**9, "head_depth is a number up to 64"),
    (
        "options.num_keypoints",
        10**9,
        "no use for the option num_keypoints=1000000000, which is for models with a keypoint head",
    ),
    ("options.cells", 10**9, "no use for the option cells=1000000000, which is for BiFPNs"),
    ("options.top_level", 10**9, "top_level is a number up to 12"),
    ("options.width", "wide", "width must be a whole number or None, got 'wide'"),
    ("options", [1], r"options must hold settings by name, got \[1\]"),
    ("options.wdth", 3, "fcos_resnet18_fpn has no option 'wdth'; did you mean 'width'"),
    ("flavour.criterion.radius", "far", "radius must be a number or None, got 'far'"),
    ("flavour.criterion", 7, "criterion must be"),
    ("flavour.new", 7, "unknown setting 'flavour.new'.* from a newer version"),
    ("input_spec.mean", [float("nan")] * 3, "mean must be"),
    ("input_spec.std", [0.0, 1.0, 1.0], "std not 0"),
    ("input_spec.short_side", 10**9, "short_side, long_side, canvas and pad_multiple are 1 …"),
    ("input_spec", None, "input_spec must hold settings by name, got None"),
    ("label_map.names", [1, 2], r"label_map: names must be a sequence, each of it str, got \[1, 2\]"),
    ("label_map.category_ids", None, "category_ids must be a sequence, each of it a whole number, got None"),
    ("label_map", [], r"label_map: names must be"),
    ("label_map.skeleton", {"names": ["a"], "edges": [[0]]}, "skeleton: edges must be"),
    ("model", 7, "should name its model, got 7"),
    ("model", "yolo", "holds 'yolo', which is not a model of the zoo"),
    ("options.levels", [[[[]]]], "levels must be"),
    ("options.in_channels", 10**9, "in_channels is a number up to 4, got 1000000000"),
    ("flavour.postprocess.max_detections", -1, "max_detections must be at least 1, got -1"),
    ("flavour.postprocess.top_level_min_score", 10**30, "top_level_min_score must be a number or None"),
    ("input_spec.scale", 10**30, "scale must be a number"),
    ("flavour.body.eps", -1, "BodyFlavour: eps must be from 0 to 1, got -1"),
    ("flavour.criterion.alpha", 2.5, "FCOSCriterion: alpha must be from 0 to 1, got 2.5"),
    ("flavour.coder.offset", float("inf"), "PointCoder: offset must be from 0 to 1, got inf"),
    ("options.norm_groups", 0, "norm_groups is a number from 1 on, got 0"),
    ("model", "x" * 10**5, "holds 'xxx"),
    ("options.mean", [1.0] * 10**5, "in_channels=3 needs 3 numbers in mean"),
    ("thresholds", 0.5, "thresholds must hold settings by name, got 0.5"),
    (
        "thresholds",
        {"scores": {"class_9": 0.5}, "kind": "best_f1", "split": "v"},
        "no class is called 'class_9'",
    ),
    (
        "thresholds",
        {"scores": {"class_0": 2}, "kind": "best_f1", "split": "v"},
        "scores must be from 0 to 1, got 2",
    ),
    ("linker", 0.5, "linker must hold settings by name, got 0.5"),
    (
        "linker",
        {"linker": "sort", "numbers": {}, "metric": "HOTA", "split": "v"},
        "linker must be one of 'byte', 'ocsort', got 'sort'",
    ),
    (
        "linker",
        {"linker": "byte", "numbers": {"max_cost": "high"}, "metric": "HOTA", "split": "v"},
        "numbers must be a mapping of str to a number",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_cards_that_cannot_be_used_are_refused_before_there_is_memory_for_them(
    tmp_path: Path, path: str, value: Any, message: str
) -> None:
    file = save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(3)}, card_with(path, value))
    with at_most(2**30), pytest.raises(WeightsError, match=rf"a\.safetensors.*({message})") as error:
        load(file)
    assert len(str(error.value)) < 1500


OUT_OF_RANGE = {
    "fcos_resnet18_fpn": [
        ("criterion.ranges", []), ("criterion.ranges", [[0, 64]] * 4), ("criterion.ranges", [[0, 64]] * 6),
        ("criterion.ranges", [[64, 64]] * 5), ("input_spec.mean", [0, 0, 1e308]), ("input_spec.border", 256),
    ],
    "retinanet_resnet18_fpn": [
        ("anchors.octaves", 0), ("anchors.ratios", []), ("anchors.ratios", [-1.0]), ("anchors.scales", [0.0]),
        ("anchors.base_scale", 1e300), ("coder.weights", [0.0, 1.0, 1.0, 1.0]), ("coder.max_log_growth", 1e300),
        ("criterion.foreground_iou", -1), ("criterion.probability_margin", 0.9),
    ],
    "efficientdet_resnet18_bifpn": [
        ("base_scale", -4.0), ("shapes", []), ("shapes", [[0.0, 1.0]]), ("postprocess.sigma", 0.0),
        ("criterion.label_smoothing", 7), ("body.eps", -1), ("body.frozen_stages", -3),
        ("criterion.huber_delta", 0),
    ],
    "mask_rcnn_resnet18_fpn": [
        ("pooling.resolution", 0), ("pooling.resolution", 2**31), ("pooling.sampling_ratio", 2**31),
        ("pooling.canonical_side", 0.0), ("rpn_depth", 2**31), ("box_convs", -1), ("box_fcs", 2**31),
        ("proposals.inference.max_iou", -1.0), ("postprocess.min_mask_probability", 5.0),
        ("criterion.rois.positive_share", 2.0), ("criterion.rpn.count", 0), ("criterion.masks.weight", -1),
    ],
    "detect_and_track_resnet18_2d": [
        ("box_coder.weights", [1.0, 1.0, 0.0, 1.0]), ("proposals.training.max_proposals", -1),
        ("criterion.keypoints.count", 0), ("criterion.tubes.min_iou", 3), ("postprocess.min_side", -1),
    ],
}  # fmt: skip


@cache
def whole_card(name: str) -> str:
    with torch.device("meta"):
        return json.dumps(create_model(name, num_classes=1).card())


@pytest.mark.parametrize(
    ("name", "path", "value"), [(name, *each) for name, rows in OUT_OF_RANGE.items() for each in rows]
)
def test_numbers_out_of_range_are_refused_in_every_family_before_anything_is_built(
    name: str, path: str, value: Any
) -> None:
    card = json.loads(whole_card(name))
    target, (*inner, entry) = card["flavour"], path.split(".")
    for key in inner:
        target = target[key]
    assert entry in target
    target[entry] = value
    with pytest.raises(WeightsError, match=r"a\.safetensors: its card cannot be used: ") as error:
        model_from_card(card, where="a.safetensors")
    assert not re.search(r"\w+Error:", str(error.value)), "in our words"


def all_settings() -> set[type]:
    """The class of every setting that a card may hold."""
    found: set[type] = set()

    def look(value: Any) -> None:
        if is_dataclass(value):
            found.add(type(value))
            for field in fields(value):
                look(getattr(value, field.name))

    for family in FAMILIES.values():
        for flavour in family.flavours.values():
            look(flavour)
    return found


@pytest.mark.parametrize("kind", sorted(all_settings(), key=lambda kind: kind.__name__))
def test_every_field_that_a_card_may_hold_refuses_what_is_of_another_type(kind: type) -> None:
    for field in fields(kind):
        with pytest.raises(ValueError, match=f"{kind.__name__}: {field.name} must be"):
            kind(**{field.name: object()})


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": ' + "[" * 100 + "]" * 100 + "}", "7"])
def test_what_is_no_card_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {"pagoda": text})
    for read in (read_card, load):
        with pytest.raises(WeightsError, match=r"a\.safetensors: its card (is|should)"):
            read(tmp_path / "a.safetensors")
