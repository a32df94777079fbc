"""The comparison with records is driven by what meta.json says, and fails on what it does not know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet import effdet_flavour
from foreign_configs import (
    bubbliiiing_flavour,
    detectron2_fcos_flavour,
    mmdet_backbone_choices,
    with_preprocessing,
)
from goldens import Golden
from rcnn import check_pixels, target_of
from vocabulary import Given

from pagoda.zoo.flavours.retinanet import RETINANET_FLAVOURS

SOURCE = {"repository": "https://github.com/open-mmlab/mmdetection", "options": {"depth": 50}}
META = {
    "source": SOURCE,
    "preprocess": {"channels": "RGB", "scale": 255, "mean": [1, 2, 3], "std": [4, 5, 6]},
    "input": {"seed": 1, "shape": [3, 8, 8]},
    "targets": {"boxes_xyxy": [[0, 0, 4, 4]], "labels": [1]},
    "tolerance": {"mask_pixels": 0},
}


def record(folder: Path, **changed: Any) -> Golden:
    (folder / "meta.json").write_text(json.dumps({**META, **changed}))
    return Golden(folder)


def with_option(key: str, value: Any) -> dict[str, Any]:
    return {"source": {**SOURCE, "options": {"depth": 50, key: value}}}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"speed": 1}, "says speed,"),
        ({"preprocess": {**META["preprocess"], "flip": True}}, "says preprocess.flip,"),
        ({"input": {**META["input"], "scale": 2}}, "says input.scale,"),
        ({"targets": [META["targets"], {"boxes": []}]}, "says targets.boxes,"),
        ({"tolerance": {"areas": 1}}, "says tolerance.areas,"),
        (with_option("temperature", 0.5), "temperature=0.5, which nothing reads"),
        (with_option("head", {"loss": {"warmth": 3}}), "head.loss.warmth=3, which nothing reads"),
        (with_option("legacy_focal", True), "legacy_focal=True, where only False is compared"),
    ],
)
def test_keys_that_nobody_knows_fail(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    record(tmp_path).check_vocabulary()
    with pytest.raises(AssertionError) as error:
        record(tmp_path, **changed).check_vocabulary()
    assert says in str(error.value)


def test_an_option_that_was_read_is_known(tmp_path: Path) -> None:
    golden = record(tmp_path, **with_option("temperature", {"of": 0.5, "at": 1}))
    assert golden.options["temperature"]["of"] == 0.5
    assert golden.options.unread() == {"depth": 50, "temperature.at": 1}


def test_thresholds_and_fits_come_from_the_options() -> None:
    given = {"confidence": 0.25, "nms_iou": 0.45, "letterbox_image": False}
    flavour = bubbliiiing_flavour(given)
    assert (flavour.postprocess.min_score, flavour.postprocess.max_iou) == (0.25, 0.45)
    assert flavour.input_spec.fit == "stretch"
    assert bubbliiiing_flavour({**given, "letterbox_image": True}).input_spec.fit == "letterbox"
    fcos = detectron2_fcos_flavour({"test_score_thresh": 0.3, "test_nms_thresh": 0.7})
    assert (fcos.postprocess.min_score, fcos.postprocess.max_iou) == (0.3, 0.7)


@pytest.mark.parametrize("flavour", ["bubbliiiing", "detectron2", "maskrcnn_benchmark", "mmdet"])
@pytest.mark.parametrize(("scale", "unit"), [(255, 1.0), (1, 255.0)])
def test_pixel_statistics_of_every_source(flavour: str, scale: int, unit: float) -> None:
    given = {"channels": "BGR", "scale": scale, "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    spec = with_preprocessing(RETINANET_FLAVOURS[flavour], given).input_spec
    assert (spec.channel_order, spec.scale, spec.mean, spec.std) == ("BGR", unit, (3, 2, 1), (6, 5, 4))


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_tuples_are_as_long_as_there_are_stages(stages: int) -> None:
    options = {"num_stages": stages, "strides": [1, 2, 1, 1][:stages], "dilations": [1, 1, 2, 4][:stages]}
    choices = mmdet_backbone_choices({**options, "out_indices": list(range(stages))})
    assert choices["num_stages"] == stages and choices["levels"] == tuple(range(2, 2 + stages))
    assert choices["strides"] == (1, 2, 1, 1)[:stages] and choices["dilations"] == (1, 1, 2, 4)[:stages]
    usual = mmdet_backbone_choices({"num_stages": stages, "norm_cfg": {"type": "GN", "num_groups": 16}})
    assert usual["strides"] == (1, 2, 2, 2)[:stages] and usual["norm_groups"] == 16


def test_forms_of_effdet_come_from_the_options() -> None:
    options = Given(
        {
            "backbone_name": "tf_efficientnet_b0", "pad_type": "same", "redundant_bias": True, "anchor_scale": 3.0,
            "aspect_ratios": [[1.0, 1.0], [1.4, 0.7], [0.7, 1.4]], "alpha": 0.5, "gamma": 2.0, "label_smoothing": 0.1,
            "delta": 0.2, "box_loss_weight": 10.0, "soft_nms": False, "max_detection_points": 50,
            "max_det_per_image": 10, "act_type": "relu6", "head_act_type": "relu", "downsample_type": "avg",
            "upsample_type": "bilinear", "fpn_name": "bifpn_attn",
        }
    )  # fmt: skip
    flavour = effdet_flavour(options)
    assert (flavour.resampling.down, flavour.resampling.up) == ("average", "bilinear")
    assert flavour.head_activation == "relu" and flavour.postprocess.max_candidates == 50
    assert not options.unread()


def test_targets_and_keys_of_a_batch(tmp_path: Path) -> None:
    pair = [META["targets"], {"boxes_xyxy": [[1, 1, 2, 2], [0, 0, 3, 3]], "labels": [5, 6]}]
    golden = record(tmp_path, targets=pair, input={"seeds": [1, 2], "shapes": [[3, 8, 8], [3, 4, 6]]})
    np.savez(tmp_path / "outputs.npz", **{"det.0.boxes": np.zeros((0, 4)), "det.1.boxes": np.zeros((0, 4))})
    assert [len(target["labels"]) for target in golden.targets()] == [1, 2]
    assert [golden.prefix("det", number) for number in (0, 1)] == ["det.0", "det.1"]
    assert target_of(golden, golden.targets()[1], (4, 6)).labels.tolist() == [5, 6]


def test_masks_without_a_union_are_compared_by_area(tmp_path: Path) -> None:
    import torch

    golden = record(tmp_path)
    np.savez(tmp_path / "outputs.npz", **{"mask.area": np.array([4])})
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, :2, :2] = True
    check_pixels(golden, masks)
    masks[0, 5, 5] = True
    with pytest.raises(AssertionError):
        check_pixels(golden, masks)
