"""Masks and keypoints in the ONNX file: the model's own, whatever the size; and a judge that is judged."""

import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from pagoda.detectors.rcnn import RCNN
from pagoda.exporting.masks_keypoints import decode_keypoints, shape_names, shapes_of
from pagoda.exporting.masks_keypoints_parity import ShapeComparison, heights_at
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.parity import ParityReport, verify
from pagoda.models import create_model
from pagoda.ops.heatmaps import heatmaps_to_keypoints
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RoIOutputs
from pagoda.structures.skeleton import Skeleton

sys.path.insert(0, str(Path(__file__).parent))
from small import FACE, RIDERS, spread_out

onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium


@pytest.fixture
def exported(exported_regions) -> tuple[RCNN, Path, ParityReport]:
    """Made once, so tests must leave it as it is."""
    return exported_regions


def run(path: Path, images: Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images.numpy()}), strict=True))


def test_everything_is_compared_before_the_file_is_written(exported) -> None:
    report = exported[2]
    assert report.passed and report.masks == report.detections > 100
    assert report.mask_pixels < report.masks
    assert report.keypoints + report.keypoint_close_calls == 3 * report.detections
    assert report.keypoint_close_calls < 0.02 * report.keypoints and report.max_keypoint_difference < 0.01
    assert f"{report.masks} masks agree" in report.summary()
    assert f"{report.keypoints} keypoints agree" in report.summary()
    assert json.loads(json.dumps(report.to_dict()))["masks"] == report.masks


@pytest.mark.parametrize("size", [(97, 61), (128, 200), (33, 40), (1, 1)])
def test_shapes_are_in_pixels_of_the_input(exported, size: tuple[int, int]) -> None:
    model, path, _ = exported
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    found = run(path, images)
    count = found["scores"].shape[1]
    assert found["masks"].shape == (2, count, *size) and found["masks"].dtype == bool
    assert found["keypoints"].shape == (2, count, 3, 2) and found["keypoint_scores"].shape == (2, count, 3)
    select = model.postprocess.with_limits(max_detections=25)
    with torch.no_grad():
        expected = model.eval().detect(model.input_spec.batch(list(images)), postprocess=select)
    for index, each in enumerate(expected):
        masks, places = (torch.from_numpy(found[name][index]) for name in ("masks", "keypoints"))
        assert (masks[: len(each)] != each.masks).sum() <= 4 and not masks[len(each) :].any()
        near = (places[: len(each)] - each.keypoints).abs() < 0.01
        assert (~near).float().sum() <= 0.02 * near.numel() and not places[len(each) :].any()
    assert size == (1, 1) or any(bool(each.masks.any()) for each in expected)


def test_skeleton_and_usage_travel_in_the_file(exported) -> None:
    file = onnx.load(str(exported[1]))
    onnx.checker.check_model(file)
    said = {entry.key: entry.value for entry in file.metadata_props}
    assert Skeleton.from_dict(json.loads(said["skeleton"])) == FACE and FACE.flip_pairs == ((0, 1),)
    assert json.loads(said["names"]) == list(RIDERS.names)
    assert "masks: bool" in said["usage"] and "keypoint_scores: " in said["usage"]
    assert " mask_probabilities: (batch, detections, M, M)" in said["usage"]
    assert [value.name for value in file.graph.output][3:] == shape_names(exported[0])
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in file.graph.output
    }
    assert shapes["masks"] == ["batch", "detections", "height", "width"]
    assert shapes["keypoints"] == ["batch", "detections", 3, 2]
    assert shapes["keypoint_scores"] == ["batch", "detections", 3]
    assert shapes["mask_probabilities"] == ["batch", "detections", 28, 28]


@pytest.mark.slow
def test_another_models_shapes_are_not_taken_for_these(exported) -> None:
    model, path, _ = exported
    other = deepcopy(model)
    with torch.no_grad():
        other.mask_head.predict.weight.neg_()
    report = verify(path, other)
    assert report.detections > 0 and len(report.unmatched) > 50
    assert "the mask of " in report.unmatched[0] and " pixels" in report.unmatched[0]
    assert any(line.startswith("mask_probabilities of ") for line in report.unmatched)
    other = deepcopy(model)
    with torch.no_grad():
        other.keypoint_head.predict.weight.copy_(model.keypoint_head.predict.weight.roll(1, 1))
    report = verify(path, other)
    assert len(report.unmatched) > 50 and "px away" in report.unmatched[0]


@pytest.mark.parametrize("rule", ["continuous", "whole_pixels"])
def test_unused_rows_are_empty_whatever_the_rule(rule: str) -> None:
    boxes = torch.tensor([[[4.0, 3.0, 30.5, 20.0], [0.0, 0.0, 0.0, 0.0]]])
    logits, maps = torch.randn(1, 2, 14, 14) + 1, torch.randn(1, 2, 3, 28, 28)
    logits[0, 1] = torch.nan  # what a runtime may make of a row that holds nothing
    labels, none = torch.tensor([[1, -1]]), torch.zeros(1, 0)
    proposals = Proposals(boxes, none, none.bool())
    outputs = RoIOutputs(none, none, proposals, boxes, none, labels, logits, maps)
    select = SelectRoIs(paste=rule)
    masks, places, scores, inside = shapes_of(outputs, select, (32, 48))
    assert torch.equal(masks[0, :1], select.masks(logits[0, :1].sigmoid(), boxes[0, :1], (32, 48)))
    expected, probabilities = select.keypoints(maps[0, :1], boxes[0, :1])
    assert torch.equal(places[0, :1], expected) and torch.equal(scores[0, :1], probabilities)
    torch.testing.assert_close(inside[0, :1], logits[0, :1].sigmoid())
    assert not any(part[0, 1].any() for part in (masks, places, scores, inside))


class Keypoints(torch.nn.Module):
    def forward(self, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return decode_keypoints(maps, boxes)


def test_onnx_decodes_heat_maps_as_we_do(tmp_path: Path) -> None:
    """Boxes of all sizes, empty ones, and highest cells in the corners; a graph always has a row at least."""
    from pagoda.exporting.onnx_keypoints import decode

    corner = torch.rand(12, 2) * 100
    boxes = torch.cat([corner, corner + torch.rand(12, 2) * 150], 1)
    boxes[0], boxes[1, 2:] = 0, boxes[1, :2] + 0.3
    maps = torch.randn(12, 5, 56, 56)
    maps[2, 0, 0, 0] = maps[3, 0, -1, -1] = maps[4, 0, 0, -1] = 9
    sizes = {0: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        Keypoints().eval(),
        (maps, boxes),
        dynamo=True,
        opset_version=18,
        input_names=["maps", "boxes"],
        dynamic_shapes=(sizes, sizes),
        custom_translation_table={torch.ops.pagoda.decode_keypoints.default: decode},
        verbose=False,
    )
    program.save(tmp_path / "keypoints.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "keypoints.onnx"))
    for rows in (slice(0, 12), slice(5, 6)):
        found = session.run(None, {"maps": maps[rows].numpy(), "boxes": boxes[rows].numpy()})
        for part, expected in zip(found, heatmaps_to_keypoints(maps[rows], boxes[rows]), strict=True):
            torch.testing.assert_close(torch.from_numpy(part), expected, rtol=1e-4, atol=1e-4)


def test_heights_are_those_of_the_enlarged_map() -> None:
    maps, box = torch.randn(4, 14, 14), torch.tensor([3.0, 7.0, 61.5, 40.2])
    places, logits, _ = heatmaps_to_keypoints(maps[None], box[None])
    torch.testing.assert_close(heights_at(maps, box, places[0]), logits[0])
    assert (heights_at(maps, box, places[0].flip(0)) < logits[0]).all()


def poses(places: Tensor, boxes: Tensor, scores: Tensor) -> Detections:
    count = len(boxes)
    return Detections(
        boxes,
        torch.ones(count),
        torch.zeros(count).long(),
        (64, 64),
        LabelMap.numbered(1),
        keypoints=places,
        keypoint_scores=scores,
    )


def test_a_place_as_high_is_a_close_call_and_a_lower_one_a_fault() -> None:
    maps, boxes = torch.zeros(1, 1, 14, 14), torch.tensor([[0.0, 0.0, 56.0, 56.0]])
    maps[0, 0, 3, 3] = maps[0, 0, 9, 9] = 5.0
    places, logits, _ = heatmaps_to_keypoints(maps, boxes)
    twin = places + 24  # six cells of four pixels further
    lower = places + 3
    report = ParityReport(min_score=0.1)
    comparison = ShapeComparison(SimpleNamespace(), None, SelectRoIs(), report)
    comparison.maps = lambda box: maps
    theirs = poses(places, boxes, logits)
    for changed in (places, twin):
        comparison(replace(theirs, keypoints=changed), theirs)
    assert (report.keypoints, report.keypoint_close_calls, report.unmatched) == (1, 1, [])
    comparison(replace(theirs, keypoints=lower), theirs)
    assert report.unmatched == ["keypoints 0 of class_0 1.0000 are up to 3 px away, 0 in score"]


def test_a_box_a_hair_wider_has_a_pixel_more_to_be_highest_in() -> None:
    maps = torch.randn(1, 4, 56, 56, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 40.0, 3.00001]]), torch.tensor([[0.0, 0.0, 40.0, 2.99999]])
    theirs, ours = (poses(*heatmaps_to_keypoints(maps, box)[:1], box, torch.zeros(1, 4)) for box in boxes)
    assert (theirs.keypoints - ours.keypoints).abs().max() > 1
    report = ParityReport(min_score=0.1)
    comparison = ShapeComparison(SimpleNamespace(), None, SelectRoIs(), report)
    comparison.maps = lambda box: maps
    comparison(ours, theirs)
    assert report.unmatched == [] and report.keypoints + report.keypoint_close_calls == 4
    comparison(replace(ours, keypoints=ours.keypoints.flip(1)), theirs)
    assert len(report.unmatched) == 1


def test_masks_may_differ_in_a_pixel_but_not_in_a_row() -> None:
    boxes = torch.tensor([[5.0, 5.0, 35.0, 35.0]])
    select, report = SelectRoIs(), ParityReport(min_score=0.1)
    crops = torch.ones(1, 28, 28)
    theirs = replace(
        poses(torch.zeros(1, 0, 2), boxes, torch.zeros(1, 0)),
        keypoints=None,
        keypoint_scores=None,
        mask_crops=crops,
        masks=select.masks(crops, boxes, (64, 64)),
    )
    comparison = ShapeComparison(SimpleNamespace(), None, select, report)
    one, row = theirs.masks.clone(), theirs.masks.clone()
    one[0, 5, 5], row[0, 5] = False, False
    comparison(replace(theirs, masks=one), theirs)
    assert (report.masks, report.mask_pixels, report.unmatched) == (1, 1, [])
    comparison(replace(theirs, masks=row), theirs)
    assert report.unmatched == ["the mask of class_0 1.0000 differs in 30 of 900 pixels"]


def test_probabilities_may_differ_in_two_cells_but_not_in_a_row() -> None:
    boxes, report = torch.tensor([[5.0, 5.0, 35.0, 35.0]]), ParityReport(min_score=0.1)
    theirs = replace(
        poses(torch.zeros(1, 0, 2), boxes, torch.zeros(1, 0)),
        keypoints=None,
        keypoint_scores=None,
        mask_crops=torch.full((1, 28, 28), 0.9),
    )
    comparison = ShapeComparison(SimpleNamespace(), None, SelectRoIs(), report)
    everywhere, two, row = (theirs.mask_crops.clone() for _ in range(3))
    everywhere -= 0.001
    two[0, 3, :2], row[0, 3] = 0.1, 0.1
    for changed in (everywhere, two):
        comparison(replace(theirs, mask_crops=changed), theirs)
    assert report.unmatched == [] and report.max_mask_probability_difference == pytest.approx(0.001, abs=1e-6)
    comparison(replace(theirs, mask_crops=row), theirs)
    assert report.unmatched == ["mask_probabilities of class_0 1.0000 differ in 28 of 784 cells"]


def test_names_follow_the_heads() -> None:
    def names(*learns: str, looks: bool = False) -> list[str]:
        return shape_names(SimpleNamespace(learns=set(learns), exports_appearance=looks))

    assert names() == [] and names("keypoints") == ["keypoints", "keypoint_scores"]
    every = ["masks", "keypoints", "keypoint_scores", "mask_probabilities"]
    assert names("masks", "keypoints") == every
    assert names("masks", "keypoints", looks=True) == [*every, "appearance"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "faster_rcnn_resnet50_fpn.maskrcnn_benchmark",
        "mask_rcnn_resnet50_fpn.torchvision",
        "keypoint_rcnn_resnet50_fpn.detectron2",
    ],
)
def test_published_sizes_on_real_pictures(name: str, shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "coco_tiny" / "images").glob("*.jpg"))[:5]
    torch.manual_seed(0)
    model = create_model(name, num_classes=1 if "keypoint" in name else 20, short_side=400, long_side=667)
    report = export_onnx(spread_out(model), tmp_path / "model.onnx", pictures=files)
    assert report.passed and report.detections > 100, report.summary()
    assert report.max_box_difference < 0.05 and report.max_score_difference < 1e-4
