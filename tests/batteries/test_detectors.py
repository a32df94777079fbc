"""What every detector promises, on small random networks. A new one adds a line to DETECTORS, or to DENSE of it."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from pagoda.backbones.darknet import DarknetTrunk
from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet3d import ResNet3D
from pagoda.backbones.resnet_options import Body
from pagoda.criteria.dense import FCOSCriterion
from pagoda.criteria.rcnn import RCNNCriterion, RoICriterion
from pagoda.criteria.rpn import RPNCriterion
from pagoda.criteria.ssd import MultiBoxCriterion
from pagoda.criteria.tubes import DetectAndTrackCriterion, TubeCriterion, TubeRPNCriterion
from pagoda.criteria.yolov1 import YOLOv1Criterion
from pagoda.detectors.contract import Detector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.retinanet import RetinaNet
from pagoda.detectors.ssd import SSD
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.heads.cells import ConnectedCellHead, ConvCellHead
from pagoda.heads.dense import DenseHead
from pagoda.heads.per_level import PerLevelHead
from pagoda.heads.roi_box import BoxHead, BoxTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.heads.separable import SeparableHead
from pagoda.heads.tube_box import TubeBoxHead
from pagoda.heads.tube_keypoint import TubeKeypointHead
from pagoda.heads.tube_rpn import TubeRPNHead
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.extras import ExtraLevel, ExtraLevels
from pagoda.necks.fpn import FPN
from pagoda.necks.fpn3d import FPN3D
from pagoda.ops.anchors import DefaultBoxes
from pagoda.ops.box_coding import PointCoder
from pagoda.ops.cells import CellCoder
from pagoda.ops.roi import RoIPooling
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.postprocess.tubes import SelectTubeProposals, TubeProposalRules
from pagoda.postprocess.yolov1 import SelectFromCells
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import Tubes, TubeTargets

pytestmark = pytest.mark.medium

NARROW = Body(base_channels=16)
POOLING = RoIPooling()
KEYPOINTS = 5


def small_parts() -> tuple[ResNet, FPN, Callable[..., DenseHead]]:
    backbone = ResNet(18, norm="frozen", body=NARROW)
    neck = FPN(backbone.channels, 32)
    return backbone, neck, partial(DenseHead, neck.channels, depth=1, groups=8)


# Every class starts at one half so that an untrained network has much to say.
def fcos(num_classes: int) -> FCOS:
    backbone, neck, head = small_parts()
    heads = {"class_head": head(outputs=num_classes), "box_head": head(outputs=5)}
    return FCOS(backbone, neck, **heads, prior_probability=None)


def first_fcos(num_classes: int) -> FCOS:
    """As published first: quality beside the classes, no centre sampling, plain IoU."""
    backbone, neck, head = small_parts()
    return FCOS(
        backbone,
        neck,
        class_head=head(outputs=num_classes + 1),
        box_head=head(outputs=4),
        quality_on="class",
        coder=PointCoder(in_strides=False),
        prior_probability=None,
        criterion=FCOSCriterion(
            radius=None, box_loss="iou", closed_ranges=True, inclusive=True, smoothing=1.0
        ),
    )


def retinanet(num_classes: int) -> RetinaNet:
    backbone, neck, head = small_parts()
    heads = {"class_head": head(outputs=9 * num_classes), "box_head": head(outputs=36)}
    return RetinaNet(backbone, neck, **heads, prior_probability=None)


def efficientdet(num_classes: int) -> EfficientDet:
    backbone = ResNet(18, norm="frozen", body=NARROW)
    neck = BiFPN(backbone.channels, 32, cells=2, norm="frozen")
    head = partial(SeparableHead, neck.channels, depth=1, norm="frozen")
    heads = {"class_head": head(outputs=9 * num_classes), "box_head": head(outputs=36)}
    return EfficientDet(backbone, neck, **heads, prior_probability=None)


def ssd(num_classes: int) -> SSD:
    backbone = ResNet(18, norm="frozen", body=NARROW)
    neck = ExtraLevels(backbone.channels, [ExtraLevel(32, 16), ExtraLevel(32, 16)])
    boxes = DefaultBoxes(
        min_sizes=(16.0, 32.0, 64.0, 128.0, 200.0),
        max_sizes=(32.0, 64.0, 128.0, 200.0, 280.0),
        ratios=((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)),
        image_size=256,
    )
    head = partial(PerLevelHead, neck.channels, dict(zip(neck.channels, boxes.counts, strict=True)))
    heads = {"class_head": head(outputs=num_classes + 1), "box_head": head(outputs=4)}
    every = MultiBoxCriterion(class_loss="focal")  # of mined ones a part may have none
    return SSD(backbone, neck, **heads, boxes=boxes, prior_probability=0.5, criterion=every)


def yolov1(num_classes: int) -> YOLOv1:
    """Whoever has a cell of several objects must not depend on their order."""
    backbone = ResNet(18, levels=(5,), norm="frozen", body=NARROW)
    head = ConvCellHead(
        backbone.channels, num_classes=num_classes, num_boxes=2, width=16, depth=1, norm="frozen"
    )
    return YOLOv1(
        backbone,
        head,
        coder=CellCoder(sigmoid=True),
        criterion=YOLOv1Criterion(claim="smallest"),
        postprocess=SelectFromCells(min_score=0.05),
    )


def darknet(num_classes: int) -> YOLOv1:
    """As published, with layers that read one size."""
    conv = DarknetLayer(
        kind="convolutional", outputs=8, size=3, stride=4, padding=1, batch_norm=True, activation="leaky"
    )
    trunk = DarknetTrunk((conv, conv), size=(256, 256), norm="frozen")
    local = DarknetLayer(kind="local", outputs=4, size=3, padding=1, activation="leaky")
    last = DarknetLayer(kind="connected", outputs=49 * (num_classes + 15))
    head = ConnectedCellHead(
        trunk.shape, (local, last), side=7, num_classes=num_classes, num_boxes=3, norm="frozen"
    )
    with torch.no_grad():  # its scores are numbers of a regression, which could exceed 1
        head.last.weight.mul_(0.1)
        head.last.bias.fill_(0.4)
    return YOLOv1(
        trunk,
        head,
        input_spec=InputSpec(fit="stretch", canvas=(256, 256)),
        postprocess=SelectFromCells(min_score=1e-6, clip="after"),
    )


def rcnn(num_classes: int, *, masks: bool = False, keypoints: bool = False) -> RCNN:
    """Its losses are of all anchors and regions: where some are drawn, their order changes which."""
    backbone = ResNet(18, norm="frozen", body=NARROW)
    neck = FPN(backbone.channels, 16, top_level=6, extra_from="max_pool")
    few = partial(SelectProposals, max_proposals=30)
    return RCNN(
        backbone,
        neck,
        rpn_head=RPNHead(neck.channels, 3),
        box_head=BoxHead(BoxTrunk(16, 7, width=32), num_classes, pooling=POOLING),
        mask_head=MaskHead(16, num_classes, depth=1, width=16, pooling=POOLING) if masks else None,
        keypoint_head=KeypointHead(16, KEYPOINTS, depth=1, width=16, pooling=POOLING) if keypoints else None,
        proposals=ProposalRules(training=few(), inference=few()),
        criterion=RCNNCriterion(rpn=RPNCriterion(count=None), rois=RoICriterion(count=None)),
    )


def detect_and_track(num_classes: int) -> DetectAndTrack:
    """Likewise."""
    backbone = ResNet3D(18, levels=(3, 4), frozen_stages=0)
    neck = FPN3D(backbone.channels, 16, top_level=5)
    few = partial(SelectTubeProposals, max_proposals=30)
    return DetectAndTrack(
        backbone,
        neck,
        rpn_head=TubeRPNHead(neck.channels, 3),
        box_head=TubeBoxHead(BoxHead(BoxTrunk(16, 7, width=32), num_classes, pooling=POOLING)),
        keypoint_head=TubeKeypointHead(16, KEYPOINTS, depth=1, width=16, pooling=POOLING),
        proposals=TubeProposalRules(training=few(), inference=few()),
        criterion=DetectAndTrackCriterion(rpn=TubeRPNCriterion(count=None), tubes=TubeCriterion(count=None)),
    )


Build = Callable[[int], Detector]
DENSE: dict[str, Build] = {
    "fcos": fcos,
    "first fcos": first_fcos,
    "retinanet": retinanet,
    "efficientdet": efficientdet,
    "ssd": ssd,
    "yolov1": yolov1,
    "darknet": darknet,
}
DETECTORS: dict[str, Build] = {
    **DENSE,
    "faster rcnn": rcnn,
    "mask rcnn": partial(rcnn, masks=True),
    "keypoint rcnn": partial(rcnn, keypoints=True),
    "detect and track": detect_and_track,
}
OF_LOCATIONS = pytest.mark.parametrize("build", DENSE.values(), ids=list(DENSE), indirect=True)
"""of detectors that choose among locations, not among regions"""


@pytest.fixture(params=DETECTORS.values(), ids=list(DETECTORS))
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


@pytest.fixture
def model(build: Build) -> Detector:
    torch.manual_seed(0)
    return build(3).eval()


def batch_of(model: Detector, *sizes: tuple[int, int]) -> ImageBatch:
    """Noise: pictures, or clips for a model that sees them."""
    frames = (len(model.frames_around),) if model.sees_clips else ()
    return InputSpec().batch(
        [torch.randint(0, 256, (*frames, 3, *size), dtype=torch.uint8) for size in sizes]
    )


def targets_of(
    model: Detector, boxes: Tensor, labels: Sequence[int] | Tensor, size: tuple[int, int]
) -> Targets | TubeTargets:
    """Objects that fill their boxes, with what the model learns of them; in clips they stand still."""
    labels, ignored = torch.as_tensor(labels), torch.zeros(len(boxes), dtype=torch.bool)
    x, y = torch.arange(size[1]) + 0.5, torch.arange(size[0]) + 0.5
    columns = (x >= boxes[:, 0, None]) & (x <= boxes[:, 2, None])
    rows = (y >= boxes[:, 1, None]) & (y <= boxes[:, 3, None])
    places = torch.linspace(0.1, 0.9, KEYPOINTS)[:, None]
    keypoints = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
    known = {"masks": rows[:, :, None] & columns[:, None], "keypoints": keypoints}
    known = {name: value for name, value in known.items() if name in model.learns}
    if "keypoints" in known:
        known["visibility"] = torch.full((len(boxes), KEYPOINTS), 2.0)
    if not model.sees_clips:
        return Targets(boxes, labels, size, ignored, **known)
    frames = len(model.frames_around)
    boxes, *rest = (each[:, None].repeat_interleave(frames, 1) for each in (boxes, *known.values()))
    visible, ids = torch.ones(len(boxes), frames, dtype=torch.bool), torch.arange(len(boxes))
    return TubeTargets(
        boxes, labels, visible, size, ignored, ids, key=frames // 2, **dict(zip(known, rest, strict=True))
    )


def objects(
    model: Detector, count: int, size: tuple[int, int], num_classes: int = 3
) -> Targets | TubeTargets:
    """Random boxes inside the picture, at least two pixels wide and high."""
    height, width = size
    corner = torch.rand(count, 2) * torch.tensor([width * 0.7, height * 0.7])
    extent = 2 + torch.rand(count, 2) * torch.tensor([width * 0.3 - 2, height * 0.3 - 2])
    return targets_of(
        model, torch.cat([corner, corner + extent], 1), torch.randint(num_classes, (count,)), size
    )


def find(model: Detector, images: ImageBatch) -> list[Detections] | list[Tubes]:
    """What the model says of each picture, or of each clip in all its frames."""
    with torch.no_grad():
        return model.detect_tubes(images) if model.sees_clips else model.detect(images)


def check_losses(
    model: Detector, images: ImageBatch, targets: list[Targets] | list[TubeTargets]
) -> dict[str, Tensor]:
    """Finite scalars whose gradients are finite."""
    losses = model.losses(images, targets)
    assert all(
        name.startswith("loss_") and loss.ndim == 0 and torch.isfinite(loss) for name, loss in losses.items()
    )
    model.zero_grad()
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
    return losses


SIZES = [(64, 96), (75, 133), (1, 1), (33, 200)]


@OF_LOCATIONS
@pytest.mark.parametrize("size", SIZES)
def test_forward_speaks_of_every_location(model: Detector, size: tuple[int, int]) -> None:
    images = batch_of(model, size)
    outputs = model(images)
    count = sum(len(prior) for prior in outputs.priors)
    assert len(outputs.priors) == len(model.levels)
    assert outputs.class_logits.shape == (1, count, 3 + isinstance(model, SSD))  # the background
    assert outputs.box_outputs.shape == (1, count, 4)
    assert outputs.quality_logits is None or outputs.quality_logits.shape == (1, count)


@pytest.mark.parametrize("size", SIZES)
def test_detections_are_valid(model: Detector, size: tuple[int, int]) -> None:
    with torch.no_grad():
        (found,) = model.detect(batch_of(model, size))
    assert found.image_size == size and found.label_map is model.label_map
    assert 0 < len(found) <= model.postprocess.max_detections or size == (1, 1)
    assert (found.scores > 0).all() and (found.scores <= 1).all()
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assert ((found.labels >= 0) & (found.labels < 3)).all()
    x1, y1, x2, y2 = found.boxes.unbind(1)
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= size[1]).all() and (y2 <= size[0]).all()
    assert (x2 >= x1).all() and (y2 >= y1).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 300])
def test_losses_of_any_number_of_objects(model: Detector, size: tuple[int, int], count: int) -> None:
    count = count if min(size) > 1 else 0
    targets = [objects(model, count, size), objects(model, 0, size)]
    losses = check_losses(model, batch_of(model, size, size), targets)
    terms = {"masks": "loss_mask", "keypoints": "loss_keypoint"}
    assert {name for name, term in terms.items() if term in losses} == model.learns


def test_objects_smaller_than_a_pixel_are_survived(model: Detector) -> None:
    boxes = torch.tensor([[10.0, 10.0, 10.2, 10.3], [5.0, 5.0, 5.0, 5.0]])
    check_losses(model, batch_of(model, (64, 64)), [targets_of(model, boxes, [0, 1], (64, 64))])


def test_one_class(build: Build) -> None:
    model = build(1).eval()
    images = batch_of(model, (64, 64))
    check_losses(model, images, [objects(model, 3, (64, 64), 1)])
    (found,) = model.detect(images)
    assert len(found) and (found.labels == 0).all()
    assert found.names[0] == "class_0"


def test_losses_do_not_depend_on_training_mode(model: Detector) -> None:
    images, targets = batch_of(model, (64, 64)), [objects(model, 4, (64, 64))]
    quiet, awake = model.eval().losses(images, targets), model.train().losses(images, targets)
    assert list(quiet) == list(awake)
    assert all(torch.equal(quiet[name], awake[name]) for name in quiet)


def test_order_of_objects_does_not_matter(model: Detector) -> None:
    images, target = batch_of(model, (128, 160)), objects(model, 20, (128, 160))
    losses = model.losses(images, [target])
    turned = model.losses(images, [target[torch.randperm(20)]])
    for name, loss in losses.items():
        torch.testing.assert_close(turned[name], loss, rtol=1e-5, atol=1e-6)


def test_order_of_images_does_not_matter(model: Detector) -> None:
    images = batch_of(model, (64, 96), (60, 90), (96, 64))
    targets = [objects(model, n, (60, 64)) for n in (5, 0, 2)]
    losses = model.losses(images, targets)
    turned = model.losses(ImageBatch(images.pixels.flip(0), images.sizes.flip(0)), targets[::-1])
    for name, loss in losses.items():
        torch.testing.assert_close(turned[name], loss, rtol=1e-4, atol=1e-5)


def test_one_image_equals_a_batch_and_evaluation_repeats(model: Detector) -> None:
    images = batch_of(model, (64, 96), (64, 96))
    together, again = find(model, images), find(model, images)
    (alone,) = find(model, ImageBatch(images.pixels[1:], images.sizes[1:]))
    for one, other in zip(together, again, strict=True):
        assert torch.equal(one.boxes, other.boxes) and torch.equal(one.scores, other.scores)
    torch.testing.assert_close(alone.boxes, together[1].boxes, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(alone.scores, together[1].scores, rtol=1e-4, atol=1e-5)


def test_ragged_and_fixed_size_detections_agree(model: Detector) -> None:
    images = batch_of(model, (64, 96), (50, 70))
    ragged = find(model, images)
    with torch.no_grad():
        fixed = model.postprocess(model(images), images.sizes, model.decode)
    assert fixed.boxes.shape[:2] == fixed.scores.shape == fixed.labels.shape
    for image, found in enumerate(ragged):
        count = len(found)
        torch.testing.assert_close(fixed.scores[image, :count], found.scores)
        torch.testing.assert_close(fixed.boxes[image, :count], found.boxes)
        assert torch.equal(fixed.labels[image, :count], found.labels)
        assert (fixed.scores[image, count:] == 0).all() and (fixed.labels[image, count:] == -1).all()


def test_nothing_found_is_an_empty_answer(model: Detector) -> None:
    images = batch_of(model, (64, 96))
    nothing = model.postprocess.with_limits(min_score=0.999)
    (found,) = model.detect(images, postprocess=nothing)
    assert len(found) == 0 and found.boxes.shape == (0, 4) and found.names == []
    assert found.to_dict()["objects"] == []
    fixed = nothing(model(images), images.sizes, model.decode)
    assert (fixed.scores == 0).all() and (fixed.labels == -1).all() and (fixed.boxes == 0).all()


@OF_LOCATIONS
def test_padding_changes_nothing_that_does_not_see_it(build: Build) -> None:
    if build is efficientdet:
        pytest.skip("its pyramid has two levels at least, and every pixel sees the coarser one")
    # One level, so nothing comes from coarser maps; no statistics over the map. Locations whose receptive
    # field (99 + 16 + 32 pixels) ends inside the picture cannot know what lies beyond.
    backbone = ResNet(18, levels=(3,), norm="frozen")
    neck = FPN(backbone.channels, 16, top_level=3)
    head = partial(DenseHead, neck.channels, depth=1, norm="none")
    if build is retinanet:
        model: Detector = RetinaNet(backbone, neck, class_head=head(outputs=18), box_head=head(outputs=36))
    else:
        model = FCOS(backbone, neck, class_head=head(outputs=2), box_head=head(outputs=5))
    model.eval()
    images = batch_of(model, (256, 256))
    padded = torch.zeros(1, 3, 256, 384)
    padded[..., :256] = images.pixels
    cells, wider = 32, 48
    with torch.no_grad():
        tight, loose = model(images), model(ImageBatch(padded, images.sizes))
        everything = model.postprocess.with_limits(min_score=0)
        (found,) = model.detect(ImageBatch(padded, images.sizes), postprocess=everything)
    safe = (256 - (99 + 16 + 32) // 2) // 8
    for small, large in zip(tight[:2], loose[:2], strict=True):
        small, large = small.reshape(cells, cells, -1), large.reshape(cells, wider, -1)
        torch.testing.assert_close(large[:, :safe], small[:, :safe], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(large[:, cells - 1], small[:, cells - 1], rtol=1e-4, atol=1e-6)
    assert len(found) and (found.boxes[:, 2] <= 256).all()


def test_gradients_reach_every_part(model: Detector) -> None:
    check_losses(model, batch_of(model, (128, 128)), [objects(model, 10, (128, 128))])
    parts = {name: next(part.parameters(), None) for name, part in model.named_children()}
    assert "backbone" in parts and ({"neck", "box_head"} <= set(parts) or "head" in parts)
    for name, first in parts.items():
        assert first is None or (first.grad is not None and first.grad.abs().max() > 0), name


def test_frozen_backbone_stays_so_inside_a_detector() -> None:
    backbone = ResNet(18, frozen_stages=5)
    neck = FPN(backbone.channels, 32)
    head = partial(DenseHead, neck.channels, depth=1, groups=8)
    model = FCOS(backbone, neck, class_head=head(outputs=2), box_head=head(outputs=5)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    check_losses(model, batch_of(model, (64, 64)), [objects(model, 2, (64, 64), 2)])
    assert all(p.grad is None for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_new_detector_in_ten_lines() -> None:
    def tiny_fcos(num_classes: int) -> FCOS:
        backbone = ResNet(34, levels=(4, 5))
        neck = FPN(backbone.channels, 64, top_level=6)
        return FCOS(
            backbone,
            neck,
            class_head=DenseHead(neck.channels, outputs=num_classes, depth=2),
            box_head=DenseHead(neck.channels, outputs=5, depth=2),  # left, top, right, bottom, centerness
        )

    model = tiny_fcos(4).eval()
    assert model.levels == [4, 5, 6]
    images = batch_of(model, (100, 130))
    assert [len(points) for points in model(images).priors] == [8 * 10, 4 * 5, 2 * 3]
    check_losses(model, images, [objects(model, 5, (100, 130), 4)])
    # Classes start at one in a hundred, so an untrained network reports nothing.
    assert len(model.detect(images)[0]) == 0


def heads(classes: int, boxes: int) -> dict:
    return {"class_head": DenseHead({3: 32}, classes), "box_head": DenseHead({3: 32}, boxes)}


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        (FCOS, heads(3, 4), 'quality_on="box" needs a box head of 5 outputs .* got 4 outputs and 3 classes'),
        (FCOS, {**heads(1, 4), "quality_on": "class"}, "got 4 outputs and 0 classes"),
        (
            RetinaNet,
            heads(27, 4),
            "9 anchors per location needs heads of 9·classes and 36 outputs, got 27 and 4",
        ),
        (RetinaNet, heads(28, 36), "got 28 and 36"),
        (
            FCOS,
            {**heads(3, 5), "label_map": LabelMap.from_names(["cat", "dog"])},
            "class head predicts 3 classes but the label map names 2: cat, dog",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(kind: type, parts: dict, message: str) -> None:
    backbone = ResNet(18, levels=(3,))
    with pytest.raises(ValueError, match=message):
        kind(backbone, FPN(backbone.channels, 32, top_level=3), **parts)


def test_heads_want_one_width_for_all_levels() -> None:
    with pytest.raises(ValueError, match=r"same channels on every level, got \{3: 32, 4: 64\}"):
        DenseHead({3: 32, 4: 64}, 5)


def drawn_pictures() -> tuple[list[Tensor], list[Targets]]:
    """Four grey pictures with one to three filled rectangles, red or green."""
    pictures, targets = [], []
    for count in (1, 2, 3, 2):
        picture = torch.full((3, 128, 128), 110, dtype=torch.uint8)
        boxes, labels = [], []
        for index in range(count):
            x1, y1 = 6 + 40 * index, int(torch.randint(5, 60, ()))
            x2, y2 = x1 + int(torch.randint(20, 36, ())), y1 + int(torch.randint(20, 60, ()))
            label = int(torch.randint(2, ()))
            color = torch.tensor([[220, 30, 30], [30, 200, 60]][label], dtype=torch.uint8)
            picture[:, y1:y2, x1:x2] = color[:, None, None]
            boxes.append([x1, y1, x2, y2])
            labels.append(label)
        pictures.append(picture)
        crowd = torch.zeros(count, dtype=torch.bool)
        targets.append(Targets(torch.tensor(boxes).float(), torch.tensor(labels), (128, 128), crowd))
    return pictures, targets


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "per_location", "boxes"), [(FCOS, 1, 5), (RetinaNet, 9, 36), (EfficientDet, 9, 36)]
)
def test_learns_four_pictures_by_heart(kind: type[Detector], per_location: int, boxes: int) -> None:
    torch.manual_seed(0)
    pictures, targets = drawn_pictures()
    images = InputSpec().batch(pictures)
    backbone = ResNet(18, norm="group")
    neck = FPN(backbone.channels, 64)
    head = partial(DenseHead, neck.channels, depth=1)
    model = kind(
        backbone, neck, class_head=head(outputs=2 * per_location), box_head=head(outputs=boxes)
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        found = model.eval().detect(images, postprocess=model.postprocess.with_limits(min_score=0.7))
    for detections, target in zip(found, targets, strict=True):
        assert len(detections) == len(target)
        order, wanted = detections.boxes[:, 0].argsort(), target.boxes[:, 0].argsort()
        assert torch.equal(detections.labels[order], target.labels[wanted])
        assert (detections.boxes[order] - target.boxes[wanted]).abs().max() < 6
