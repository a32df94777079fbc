"""What the runtime finds in forty pictures is what the model in PyTorch finds, each family with a small network."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pagoda")
pytest.importorskip("onnxscript")

from torch import Tensor, nn

import pagoda_runtime
from pagoda import batch_size
from pagoda.detectors.contract import Detector
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.retinanet import RetinaNet
from pagoda.exporting.onnx import to_onnx
from pagoda.exporting.openvino import ir_of, write_ir
from pagoda.heads.dense import DenseHead
from pagoda.heads.roi_box import BoxHead, BoxTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.heads.separable import SeparableHead
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.models import create_model
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.fpn import FPN
from pagoda.ops.roi import RoIPooling
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda_runtime import together

pytestmark = pytest.mark.medium
FACE = Skeleton(("left_eye", "right_eye", "nose"), edges=((0, 2), (1, 2)), sigmas=(0.03, 0.03, 0.04))
LABELS = LabelMap(("person", "horse", "größer"), (1, 17, 90), FACE)
BOX_TOLERANCE, SCORE_TOLERANCE = 0.05, 1e-4
CLOSE_CALLS = 0.01
"""share of the objects about which rounding may decide: two overlaps or scores as good as equal"""


class Strides(nn.Module):
    """Two strided convolutions: tracing costs by the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {3: 16, 4: 24}
        self.first, self.second = nn.Conv2d(3, 16, 15, 8, padding=7), nn.Conv2d(16, 24, 3, 2, padding=1)

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        fine = self.first(pictures).relu()
        return {3: fine, 4: self.second(fine).relu()}


def dense(
    kind: type, neck: Callable[..., nn.Module], head: Callable[..., nn.Module], spec: InputSpec
) -> Detector:
    """A detector of one stage whose scores are spread as after training."""
    backbone = Strides()
    pyramid = neck(backbone.channels, 16, top_level=4)
    each = partial(head, pyramid.channels, depth=1)
    per_cell, box = (1, 5) if kind is FCOS else (9, 36)
    heads = {"class_head": each(outputs=3 * per_cell), "box_head": each(outputs=box)}
    model = kind(backbone, pyramid, **heads, label_map=LABELS, input_spec=spec)
    images = spec.batch([torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)])
    last = [layer for layer in model.class_head.modules() if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight *= 1.5 / model.eval()(images).class_logits.std()
        last.bias.fill_(-3)
    return model


def yolov1() -> Detector:
    """A few layers as darknet has them; its way to resize is compared in test_resize.py."""
    layers = (
        DarknetLayer(kind="convolutional", outputs=12, size=5, stride=4, padding=2, activation="leaky"),
        DarknetLayer(kind="maxpool", size=4, stride=4, padding=3),
        DarknetLayer(kind="local", outputs=6, size=3, padding=1, activation="leaky"),
        DarknetLayer(kind="connected"),
    )
    model = create_model(
        "yolov1.darknet", label_map=LABELS, layers=layers, side=5, num_boxes=3, canvas=(112, 144)
    )
    # The runtime hands over whole grey values, and the model's own way keeps what lies between.
    model.input_spec = replace(model.input_spec, resample="antialias")
    model.postprocess = replace(model.postprocess, min_score=0.05)
    with torch.no_grad():
        model.head.last.weight.normal_(std=0.05)
        model.head.last.bias.fill_(0.5)
    return model


def rcnn(spec: InputSpec, *learns: str, **pasting: object) -> Detector:
    backbone = Strides()
    neck = FPN(backbone.channels, 16, top_level=4)
    fine = RoIPooling(resolution=14)
    heads = {
        "mask_head": MaskHead(16, 3, pooling=fine, depth=1, width=16),
        "keypoint_head": KeypointHead(16, 3, pooling=fine, depth=1, width=16),
    }
    model = RCNN(
        backbone,
        neck,
        rpn_head=RPNHead(neck.channels, 3),
        box_head=BoxHead(BoxTrunk(16, 7, width=32), 3, pooling=RoIPooling()),
        **{name: heads[name] for name in learns},
        label_map=LABELS,
        input_spec=spec,
        proposals=ProposalRules(inference=SelectProposals(max_proposals=60)),
    )
    images = spec.batch([torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)])
    with torch.no_grad():
        model.box_head.classes.weight *= 3 / model.eval()(images).class_logits.std()
        if model.mask_head is not None:  # with holes, and finer than a pixel of what the network sees
            model.mask_head.predict.weight.normal_(std=0.2)
            model.postprocess = replace(model.postprocess, **pasting)
    return model


SIDES = InputSpec(short_side=96, long_side=160)
BGR = InputSpec(short_side=96, long_side=160, channel_order="BGR")
CORNER = InputSpec(fit="corner", canvas=(128, 128))
LETTERBOX = InputSpec(fit="letterbox", canvas=(112, 144))
BOTH = ("mask_head", "keypoint_head")
CAFFE2 = {"paste": "whole_pixels", "min_mask_probability": 0.4}
MODELS: dict[str, Callable[[], Detector]] = {
    "FCOS": lambda: dense(FCOS, FPN, partial(DenseHead, groups=4), SIDES),
    "Mask and Keypoint R-CNN": lambda: rcnn(SIDES, *BOTH),
    "the same by OpenVINO": lambda: rcnn(SIDES, *BOTH),
    "Mask R-CNN, letterboxed": lambda: rcnn(LETTERBOX, "mask_head", **CAFFE2),
    "RetinaNet": lambda: dense(RetinaNet, FPN, partial(DenseHead, norm="none"), BGR),
    "EfficientDet": lambda: dense(EfficientDet, partial(BiFPN, cells=1), SeparableHead, CORNER),
    "Faster R-CNN": lambda: rcnn(SIDES),
    "YOLOv1": yolov1,
}
# To trace a network takes many seconds; what the others have besides stands in the graph, not in the runtime.
QUICK = ("FCOS", "YOLOv1")
PARAMETERS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module", params=PARAMETERS)
def both(request, tmp_path_factory) -> tuple[Detector, pagoda_runtime.Model]:
    """The model, and the runtime's of its file."""
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    model.postprocess = model.postprocess.with_limits(max_detections=30)
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    if "OpenVINO" in request.param:
        pytest.importorskip("openvino", reason="needs pip install 'pagoda-vision[openvino]'")
        path = path.with_suffix(".xml")
        write_ir(ir_of(model, model.postprocess)[0], path)
    else:
        to_onnx(model, model.postprocess, 18).save(path)
    return model, pagoda_runtime.load(path, threads=1)


@pytest.fixture(scope="module")
def forty(photos: list[Path]) -> list[Path | np.ndarray]:
    """Up to a dozen photos, and drawn pictures of other sizes, each mirrored too: coarse noise with rectangles."""
    rng = np.random.default_rng(1)
    pictures: list[Path | np.ndarray] = list(photos[:12])
    while len(pictures) < 40:
        height, width = rng.integers(20, 300, 2)
        noise = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        picture = noise.repeat(8, 0).repeat(8, 1)[:height, :width].copy()
        for _ in range(5):
            y, x, h, w = (rng.random(4) * [height, width, height, width]).astype(int) // 2
            picture[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        pictures += [picture, np.ascontiguousarray(picture[:, ::-1])]  # of one size, so looked at together
    return pictures[:40]


def in_sight(found):
    """Without what lay in a letterbox's border, of one colour and so of equal scores, and is cut to nothing."""
    return found[(found.boxes[:, 2:] > found.boxes[:, :2]).all(1)]


def pairs(ours: pagoda_runtime.Detections, theirs) -> tuple[np.ndarray, np.ndarray]:
    """(rows of ours, rows of theirs) that are the same object to within the tolerances, each once."""
    boxes = np.abs(ours.boxes[:, None] - theirs.boxes.numpy()[None]).max(-1)
    scores = np.abs(ours.scores[:, None] - theirs.scores.numpy()[None])
    same = (boxes <= BOX_TOLERANCE) & (scores <= SCORE_TOLERANCE)
    same &= ours.labels[:, None] == theirs.labels.numpy()[None]
    rows, columns = [], []
    for row in range(len(ours)):
        free = [column for column in np.flatnonzero(same[row]) if column not in columns]
        if free:
            rows.append(row)
            columns.append(free[0])
    return np.array(rows, int), np.array(columns, int)


def check_words(model: Detector, runtime: pagoda_runtime.Model, picture: np.ndarray) -> None:
    """Thresholds, names and skeletons; no test of its own, so that no worker exports a model twice."""
    everything = runtime.predict(picture)
    threshold = float(np.median(everything.scores))
    assert runtime.predict(picture, min_score=threshold).to_dict() == everything.above(threshold).to_dict()
    assert runtime.label_map.names == LABELS.names and runtime.label_map.category_ids == LABELS.category_ids
    assert runtime.input_spec.resized((37, 91)) == model.input_spec.resized((37, 91))
    assert set(everything.names) <= set(LABELS.names)
    skeleton = runtime.label_map.skeleton
    assert (skeleton is not None) == ("keypoints" in model.learns)
    assert skeleton is None or (skeleton.names, skeleton.edges) == (FACE.names, FACE.edges)


def test_as_many_are_looked_at_together_as_by_pagoda() -> None:
    assert (together.MOST, together.PIXELS_SEEN, together.PIXELS_HELD) == (
        batch_size.OF_PROCESSORS,
        batch_size.PIXELS_TOGETHER,
        batch_size.PIXELS_HELD,
    )


def test_the_objects_are_those_of_the_model(both, forty) -> None:
    model, runtime = both
    expected, found = model.predict(list(forty)), runtime.predict(list(forty))
    same = alone = 0
    pixels = wrong = 0
    far: list[bool] = []
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.image_size == theirs.image_size and ours.file == theirs.file
        assert np.array_equal(ours.picture, theirs.picture)
        ours, theirs = in_sight(ours), in_sight(theirs)
        rows, columns = pairs(ours, theirs)
        same += len(rows)
        alone += len(ours) + len(theirs) - 2 * len(rows)
        if theirs.masks is not None:
            pasted, shown = theirs.masks.numpy()[columns], ours.masks[rows]
            pixels, wrong = pixels + (pasted | shown).sum(), wrong + (pasted ^ shown).sum()
        if theirs.keypoints is not None:
            away = np.abs(theirs.keypoints.numpy()[columns] - ours.keypoints[rows]).max(-1)
            scores = np.abs(theirs.keypoint_scores.numpy()[columns] - ours.keypoint_scores[rows])
            far += ((away > BOX_TOLERANCE) | (scores > 1e-3)).ravel().tolist()
    assert same > 200 and alone <= CLOSE_CALLS * same
    # Boxes within a twentieth of a pixel, and rounding, decide about a pixel in some thousands.
    assert (pixels > 100_000) == ("masks" in model.learns) and wrong <= 2e-3 * pixels
    assert (len(far) > 0) == ("keypoints" in model.learns) and (not far or np.mean(far) < 0.02)
    check_words(model, runtime, forty[-1])
