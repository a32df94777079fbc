"""What checkpoints say about themselves besides their weights, in the forms mmdetection and detectron2 write."""

from pathlib import Path

import pytest
import torch

from pagoda.convert.architecture.recorded_config import (
    recorded_box_weights,
    recorded_classes,
    recorded_clips,
    recorded_input,
    recorded_style,
)
from pagoda.convert.read import convert
from pagoda.convert.to_program import to_source
from pagoda.models import create_model
from pagoda.preprocess import InputSpec
from pagoda.weights.files import WeightsError
from pagoda.zoo.cards import model_from_card
from pagoda.zoo.flavours.fcos import MSRA_INPUT

NAMES = ("heron", "newt")


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"meta": {"CLASSES": NAMES}}, NAMES),
        ({"meta": {"CLASSES": list(NAMES)}}, NAMES),
        ({"meta": {"dataset_meta": {"classes": NAMES, "palette": [(1, 2, 3)]}}}, NAMES),
        ({"meta": {"dataset_meta": {"CLASSES": NAMES}, "CLASSES": None}}, NAMES),
        ({"meta": {"epoch": 12}}, None),
        ({"meta": {"CLASSES": (1, 2)}}, None),
        ({"meta": "somebody's"}, None),
        ({}, None),
    ],
)
def test_classes(metadata: dict, names: tuple[str, ...] | None) -> None:
    assert recorded_classes(metadata) == names


@pytest.mark.parametrize(
    ("metadata", "style"),
    [
        ({"meta": {"config": "model = dict(backbone=dict(type='ResNet', style='caffe'))"}}, "caffe"),
        ({"meta": {"cfg": '"backbone": {"depth": 50, "style": "pytorch"}'}}, "pytorch"),
        ({"meta": {"config": "backbone=dict(type='PVT', in_style=1)"}}, None),
        ({"meta": {"config": None}}, None),
        ({}, None),
    ],
)
def test_style(metadata: dict, style: str | None) -> None:
    assert recorded_style(metadata) == style


def test_pixel_statistics_of_older_files_count() -> None:
    tensors = {
        "pixel_mean": torch.tensor([103.5, 116.25, 123.75]).reshape(3, 1, 1),
        "pixel_std": torch.tensor([57.5, 57.25, 58.5]).reshape(3, 1, 1),
    }
    spec, why = recorded_input(tensors, "resnet50", MSRA_INPUT)
    assert spec.channel_order == "BGR" and spec.scale == 1.0 and "as the file says" in why
    assert spec.mean == (123.75, 116.25, 103.5) and spec.std == (58.5, 57.25, 57.5)
    turned = {name: tensor.flip(0) for name, tensor in tensors.items()}
    spec, _ = recorded_input(turned, "resnet50", MSRA_INPUT)
    assert spec.channel_order == "RGB" and spec.mean == (123.75, 116.25, 103.5)


def test_facebooks_resnext_is_known_to_divide() -> None:
    spec, why = recorded_input({}, "resnext101_32x8d", MSRA_INPUT)
    assert spec.std == (58.395, 57.12, 57.375) and spec.mean == MSRA_INPUT.mean and why
    assert recorded_input({}, "resnext101_64x4d", MSRA_INPUT) == (MSRA_INPUT, "")
    assert recorded_input({}, "resnet50", InputSpec()) == (InputSpec(), "")


def saved(tmp_path: Path, name: str, program: str, **more: object) -> Path:
    """A checkpoint of `program` with further entries: tensors of the model, or of the file's meta."""
    tensors = to_source(create_model(name, num_classes=2, width=32, head_depth=1), program)
    tensors |= {key: value for key, value in more.items() if isinstance(value, torch.Tensor)}
    meta = {key: value for key, value in more.items() if key not in tensors}
    path = tmp_path / "m.pth"
    torch.save({"meta": meta, "state_dict": tensors} if program == "mmdet" else {"model": tensors}, path)
    return path


LINES = """  MODEL: !!python/object/new:collections.AttrDict
    dictitems:
      BBOX_REG_WEIGHTS: !!python/tuple
      - 1.0
      - 2.0
      - 5.e-1
      - 3
      BN: 8
"""


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        ("  BBOX_REG_WEIGHTS: !!python/tuple [10.0, 10.0, 5.0, 5.0]\n  N: [1]", (10.0, 10.0, 5.0, 5.0)),
        ("{BBOX_REG_WEIGHTS: [10, 10, 5., 5e+0], N: 3}", (10.0, 10.0, 5.0, 5.0)),
        (LINES, (1.0, 2.0, 0.5, 3.0)),
        ("MODEL: {NUM_CLASSES: 2}", (1.0, 1.0, 1.0, 1.0)),  # older than the key
        (None, None),
    ],
)
def test_weights_of_box_deltas_in_the_text_of_a_config(config: str | None, weights: tuple | None) -> None:
    assert recorded_box_weights({} if config is None else {"cfg": config}) == weights


@pytest.mark.parametrize(
    "config", ["BBOX_REG_WEIGHTS: *id001\nA: [1, 2, 3, 4]", "BBOX_REG_WEIGHTS: [1, 2, 3]"]
)
def test_weights_of_box_deltas_in_a_form_that_is_not_read(config: str) -> None:
    with pytest.raises(
        WeightsError, match=r"should give four numbers as BBOX_REG_WEIGHTS, but says 'BBOX_REG_W"
    ):
        recorded_box_weights({"cfg": config})


def test_clips_in_the_text_of_a_config() -> None:
    assert recorded_clips({"cfg": "VIDEO: {NUM_FRAMES_MID: 5, NUM_FRAMES: 7, TIME_INTERVAL: 2}"}) == {
        "num_frames": 7,
        "frame_interval": 2,
    }
    config = "VIDEO:\n  TIME_STRIDE_ON: {}\n  NUM_FRAMES: 9\n"
    assert recorded_clips({"cfg": config.format("true")}) == {"num_frames": 9, "time_stride": True}
    assert recorded_clips({"cfg": config.format("false")}) == {"num_frames": 9}
    assert recorded_clips({"cfg": "VIDEO: {NUM_FRAMES: -1}"}) == {} == recorded_clips({})


def test_a_conversion_takes_names_and_style_from_mmdetections_meta(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        "retinanet_resnet18_fpn.mmdet",
        "mmdet",
        CLASSES=NAMES,
        config="backbone=dict(style='caffe')",
    )
    conversion = convert(path)
    assert conversion.model.label_map.names == NAMES
    assert conversion.model.input_spec.channel_order == "BGR"
    assert conversion.model.origin["model"].endswith(".mmdet_caffe")
    assert "taken for 'mmdet_caffe', not 'mmdet'" in conversion.report.text()
    assert convert(path, flavour="mmdet").model.input_spec.channel_order == "RGB"


def test_a_conversion_takes_pixel_statistics_from_detectron2s_tensors(tmp_path: Path) -> None:
    statistics = {
        "pixel_mean": torch.tensor([103.5, 116.25, 123.75]),
        "pixel_std": torch.full((3, 1, 1), 57.5),
    }
    conversion = convert(saved(tmp_path, "retinanet_resnet18_fpn.detectron2", "detectron2", **statistics))
    assert conversion.model.input_spec.mean == (123.75, 116.25, 103.5)
    assert conversion.model.input_spec.std == (57.5,) * 3
    assert "BGR pixels, mean and deviation as the file says" in conversion.report.notes
    again = model_from_card(conversion.model.card())
    assert again.input_spec == conversion.model.input_spec and again.card() == conversion.model.card()
