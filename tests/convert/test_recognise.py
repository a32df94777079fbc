"""What a checkpoint is, told by names and shapes alone: program, network, options; whatever the order and wrapping."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pagoda.convert.recognise import ForeignCheckpoint, flavour_of, open_foreign, recognised
from pagoda.convert.to_program import to_source
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError
from pagoda.zoo.families import FAMILIES, build_detector, options_from
from pagoda.zoo.options import ModelName

pytestmark = pytest.mark.medium

# model, the program, options that its tensors must tell
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *(
        (f"fcos_{body}_fpn.improved", "fcos", {})
        for body in ("resnet18", "resnet50", "resnet101", "resnet152")
    ),
    *((f"fcos_resnext101_{kind}_fpn.original", "fcos", {}) for kind in ("32x8d", "64x4d", "32x4d")),
    ("fcos_mobilenet_v2_fpn.original", "fcos", {"width": 128}),
    ("fcos_resnet50_fpn.improved", "fcos", {"head_depth": 2, "norm": "group", "neck_norm": "group"}),
    ("fcos_resnet50_fpn.improved", "fcos", {"deform": "v2", "deform_levels": (3, 4, 5), "head_deform": True}),
    ("fcos_resnet50_fpn.original", "fcos", {"deform": "v1", "deform_levels": (4, 5), "deform_groups": 4}),
    ("fcos_resnext101_32x8d_fpn.improved", "fcos", {"deform": "v2", "deform_levels": (2, 5)}),
    ("fcos_resnet50_fpn.original", "fcos", {"head_norm": "none", "top_level": 6}),
    (
        "fcos_resnet101_fpn.adelaidet",
        "adelaidet",
        {"deform": "v2", "deform_levels": (4, 5), "deform_groups": 2},
    ),
    ("fcos_resnet50_fpn.detectron2", "detectron2", {}),
    ("fcos_resnet50_fpn.detectron2", "detectron2", {"neck_norm": "group", "norm": "group"}),
    ("fcos_resnet50_fpn.torchvision", "torchvision", {}),
    ("fcos_resnet50_fpn.mmdet", "mmdet", {"head_bias": False}),
    (
        "fcos_resnet50_fpn.mmdet_improved",
        "mmdet",
        {"deform": "v1", "deform_groups": 2},
    ),
    ("retinanet_resnet50_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {}),
    ("retinanet_resnext101_64x4d_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {"head_depth": 3}),
    ("retinanet_resnet101_fpn.detectron2", "detectron2", {"deform": "v1"}),
    ("retinanet_resnet50_fpn.torchvision", "torchvision", {}),
    ("retinanet_resnet18_fpn.torchvision_v2", "torchvision", {"head_bias": False}),
    *((f"retinanet_resnet{depth}_fpn.bubbliiiing", "bubbliiiing", {}) for depth in (18, 34, 50, 101, 152)),
    *((f"retinanet_{body}_fpn.mmdet", "mmdet", {}) for body in ("resnet50c", "resnet50d", "resnet18d")),
    ("retinanet_resnet50_fpn.mmdet", "mmdet", {"norm": "group"}),
    ("retinanet_resnext50_32x4d_fpn.mmdet", "mmdet", {"deform": "v2", "deform_fallback": True}),
]


def state_of(model: str, source: str, options: dict[str, Any], *, num_classes: int = 80) -> dict[str, Tensor]:
    """As the program saves it, without memory: shapes are real, all elements of a tensor are one number."""
    with torch.device("meta"):
        built = create_model(model, num_classes=num_classes, **options)
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in to_source(built, source).items()}


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def rebuilt(checkpoint: ForeignCheckpoint, flavour: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model that was recognised."""
    told = checkpoint.architecture
    name = ModelName(told.detector or "", told.backbone, told.neck or "", flavour)
    with torch.device("meta"):
        labels, options = LabelMap.numbered(told.num_classes or 0), options_from(told.options, name)
        return shapes(
            build_detector(name, labels, options, FAMILIES[name.detector].flavours[flavour]).state_dict()
        )


@pytest.mark.parametrize(("model", "source", "options"), CASES, ids=[f"{m} {o}" for m, _, o in CASES])
def test_networks_are_told_by_their_tensors(model: str, source: str, options: dict[str, Any]) -> None:
    name, _, flavour = model.rpartition(".")
    with torch.device("meta"):
        own = create_model(model, num_classes=80, **options)
    found = recognised("model_final.pth", to_source(own, source))
    told = found.architecture
    assert found.source.name == source and not found.renamed.unknown
    assert f"{told.detector}_{told.backbone}_{told.neck}" == name
    assert told.num_classes == 80 and told.question is None
    assert {option: told.options.get(option) for option in options} == options
    assert rebuilt(found, flavour) == shapes(own.state_dict())
    if source != "fcos":  # whose two flavours have the same tensors
        assert flavour_of(found) == flavour


@pytest.mark.parametrize(("model", "source", "_"), [CASES[0], CASES[19]], ids=["fcos", "retinanet"])
def test_the_number_of_classes(model: str, source: str, _: dict[str, Any]) -> None:
    for count in (1, 9, 20):
        assert (
            recognised("x.pth", state_of(model, source, {}, num_classes=count)).architecture.num_classes
            == count
        )


@pytest.mark.parametrize(
    ("model", "source", "extra"),
    [
        ("retinanet_resnet50_fpn.torchvision", "torchvision", "P5"),
        ("retinanet_resnet50_fpn.torchvision_v2", "torchvision", "C5"),
        ("retinanet_resnet50_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", "C5"),
        ("fcos_mobilenet_v2_fpn.original", "fcos", "P5"),
        ("retinanet_resnet18_fpn.bubbliiiing", "bubbliiiing", "C5"),
    ],
)
def test_what_the_sixth_level_reads(model: str, source: str, extra: str) -> None:
    assert recognised("x.pth", state_of(model, source, {})).architecture.extra_from == extra


def test_one_of_both_where_the_sixth_level_could_read_either() -> None:
    """C5 as wide as the pyramid: maskrcnn-benchmark's own test would go wrong, the flavour decides."""
    state = state_of("retinanet_resnet18_fpn.bubbliiiing", "bubbliiiing", {"width": 512})
    assert recognised("x.pth", state).architecture.extra_from is None


@pytest.mark.parametrize(
    ("file", "options", "flavour"),
    [
        ("FCOS_imprv_R_50_FPN_1x.pth", {}, "improved"),
        ("FCOS_R_50_FPN_1x.pth", {}, "original"),
        ("my_imprv_model.pth", {}, "improved"),
        ("model_final.pth", {"head_deform": True}, "improved"),
        ("model_final.pth", {"deform": "v2"}, "improved"),
    ],
)
def test_two_flavours_of_the_same_tensors(file: str, options: dict[str, Any], flavour: str) -> None:
    state = state_of("fcos_resnet50_fpn.improved", "fcos", options)
    assert flavour_of(recognised(file, state)) == flavour


def test_a_flavour_that_nothing_tells_is_asked_for() -> None:
    found = recognised("model_final.pth", state_of("fcos_resnet50_fpn.improved", "fcos", {}))
    with pytest.raises(
        WeightsError, match=r"do not tell which of original and improved it is; say flavour='improved'"
    ):
        flavour_of(found)
    assert flavour_of(found, "original") == "original"


@pytest.mark.parametrize(
    ("model", "source", "options"), CASES[::4], ids=[f"{m} {o}" for m, _, o in CASES[::4]]
)
def test_the_order_of_names_does_not_matter(model: str, source: str, options: dict[str, Any]) -> None:
    state = state_of(model, source, options)
    expected = recognised("imprv.pth", state)
    for seed in range(5):
        names = list(state)
        random.Random(seed).shuffle(names)
        found = recognised("imprv.pth", {name: state[name] for name in names})
        assert found.source is expected.source and found.architecture == expected.architecture
        assert found.renamed.taken == expected.renamed.taken and flavour_of(found) == flavour_of(expected)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_do_not_matter(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = state_of("retinanet_resnet50_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {})
    path = tmp_path / "model.pth"
    content: dict[str, Any] = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({wrapper: content, "iteration": 1} if wrapper else content, path)
    found = open_foreign(path)
    expected = recognised(path, state)
    assert found.source is expected.source and found.architecture == expected.architecture
    assert found.renamed == expected.renamed


def test_pieces_that_only_the_first_version_of_a_program_wrote() -> None:
    """Old names of torchvision's blocks and of mmdetection's predictions and offsets."""
    new = state_of("retinanet_resnet50_fpn.torchvision", "torchvision", {})
    old = {}
    for name, tensor in new.items():
        for index in range(4):
            name = (
                name.replace(f"_head.conv.{index}.0.", f"_head.conv.{2 * index}.")
                if "_head" in name
                else name
            )
            if "_head" in name and f"_head.conv.{2 * index}." in name:
                break
        old[name.replace("blocks.0.0.", "blocks.0.").replace("blocks.1.0.", "blocks.1.")] = tensor
    assert old.keys() != new.keys()
    assert set(recognised("x.pth", old).renamed.taken.values()) == set(
        recognised("x.pth", new).renamed.taken.values()
    )
    new = state_of("fcos_resnet50_fpn.mmdet", "mmdet", {"deform": "v2"})
    old = {
        name.replace("bbox_head.conv_", "bbox_head.fcos_").replace(
            "conv2.conv_offset", "conv2_offset"
        ): tensor
        for name, tensor in new.items()
    }
    assert len(old.keys() - new.keys()) == 6 + 2 * 13
    assert recognised("x.pth", old).architecture == recognised("x.pth", new).architecture


def test_tensors_under_both_an_old_and_a_new_name_are_refused() -> None:
    state = state_of("fcos_resnet50_fpn.mmdet", "mmdet", {})
    state["bbox_head.fcos_cls.weight"] = state["bbox_head.conv_cls.weight"]
    with pytest.raises(WeightsError, match="holds 1 tensor twice, under an older and a newer name"):
        recognised("x.pth", state)
