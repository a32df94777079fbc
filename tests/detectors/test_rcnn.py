"""What two-stage detectors promise, on small random networks of every kind."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body
from pagoda.criteria.rcnn import RCNNCriterion, RoICriterion
from pagoda.criteria.rpn import RPNCriterion
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.two_stage import PYRAMID_ANCHORS
from pagoda.evaluation.runner import detect_dataset
from pagoda.exporting.optimize import optimize
from pagoda.exporting.program import export_forward
from pagoda.heads.roi_box import BoxHead, BoxTrunk, StageTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.fpn import FPN
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.roi import RoIPooling
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

FEW = ProposalRules(training=SelectProposals(max_proposals=60), inference=SelectProposals(max_proposals=40))
COARSE, FINE = RoIPooling(), RoIPooling(resolution=14)
NARROW = Body(base_channels=16)


def rcnn(neck: str = "fpn", shapes: tuple[str, ...] = ("mask", "keypoint"), **options) -> RCNN:
    """Pyramids of four kinds, or one level."""
    levels = {"fpn": (2, 3, 4, 5), "short": (4, 5), "bifpn": (3, 4, 5), "retina": (3, 4, 5), "c4": (4,)}[neck]
    backbone = ResNet(18, levels=levels, norm="frozen", body=NARROW)
    necks = {
        "fpn": partial(FPN, top_level=6, extra_from="max_pool"),
        "short": partial(FPN, top_level=6, extra_from="max_pool"),
        "bifpn": partial(BiFPN, cells=1, top_level=7),
        "retina": partial(FPN, top_level=7),
    }
    pyramid = necks[neck](backbone.channels, 32) if neck in necks else None
    channels = (pyramid or backbone).channels
    anchors = PYRAMID_ANCHORS if pyramid else AnchorShapes(scales=(2.0, 4.0, 8.0))
    width = channels[levels[0]]
    stage = ResNet(18, levels=(5,), norm="frozen", body=NARROW).layer4 if neck == "c4" else None
    trunk: nn.Module = BoxTrunk(width, 7, width=64)
    if stage is not None:
        trunk = StageTrunk(stage, 128)
    heads = {
        "mask": partial(MaskHead, 128 if stage else width, 3, depth=0 if stage else 1, width=16),
        "keypoint": partial(KeypointHead, width, 5, depth=1, width=16),
    }
    return RCNN(
        backbone,
        pyramid,
        rpn_head=RPNHead(channels, len(anchors.of_cell(16))),
        box_head=BoxHead(trunk, 3, pooling=FINE if stage else COARSE),
        **{f"{shape}_head": heads[shape](pooling=FINE) for shape in shapes},
        shared_stage=stage is not None,
        anchors=anchors,
        proposals=FEW,
        postprocess=SelectRoIs(min_score=0.2, max_detections=20),
        **options,
    )


def batch_of(*sizes: tuple[int, int]) -> ImageBatch:
    pictures = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    return InputSpec().batch(pictures)


def objects(size: tuple[int, int], count: int) -> Targets:
    """Boxes with a full mask, and five keypoints inside."""
    height, width = size
    corner = torch.rand(count, 2) * torch.tensor([width, height]) * 0.5
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2) * torch.tensor([width, height]) * 0.4], 1)
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    rows = (y >= boxes[:, 1, None]) & (y <= boxes[:, 3, None])
    columns = (x >= boxes[:, 0, None]) & (x <= boxes[:, 2, None])
    return Targets(
        boxes,
        torch.randint(3, (count,)),
        size,
        torch.zeros(count, dtype=torch.bool),
        masks=rows[:, :, None] & columns[:, None],
        keypoints=boxes[:, None, :2] + torch.rand(count, 5, 2) * (boxes[:, None, 2:] - boxes[:, None, :2]),
        visibility=torch.randint(3, (count, 5)).float(),
    )


KINDS = [("fpn", ("mask", "keypoint")), ("c4", ("mask",)), ("bifpn", ("mask",)), ("retina", ())]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join((kind[0], *kind[1])))
def model(request: pytest.FixtureRequest) -> RCNN:
    torch.manual_seed(0)
    return rcnn(*request.param).eval()


@pytest.mark.parametrize("sizes", [((75, 133), (64, 64)), ((1, 1),)])
def test_detections_are_valid(model: RCNN, sizes: tuple[tuple[int, int], ...]) -> None:
    with torch.no_grad():
        found = model.detect(batch_of(*sizes))
    assert [each.image_size for each in found] == list(sizes)
    for each in found:
        assert len(each) <= 20 and ((each.labels >= 0) & (each.labels < 3)).all()
        assert torch.equal(each.scores, each.scores.sort(descending=True).values)
        assert (each.boxes >= 0).all() and (each.boxes[:, 2] <= each.image_size[1]).all()
        assert (each.masks is not None) == (model.mask_head is not None)
        if each.masks is not None:
            assert each.masks.shape == (len(each), *each.image_size) and each.masks.dtype == torch.bool
        if each.keypoints is not None:
            assert each.keypoints.shape == (len(each), 5, 2) and each.keypoint_scores.shape == (len(each), 5)
    assert sizes == ((1, 1),) or all(len(each) for each in found)


def test_forward_says_what_detect_says(model: RCNN) -> None:
    images = batch_of((96, 128), (70, 90))
    with torch.no_grad():
        outputs, found = model(images), model.detect(images)
    for image, each in enumerate(found):
        rows = slice(len(each))
        torch.testing.assert_close(outputs.boxes[image, rows], each.boxes)
        torch.testing.assert_close(outputs.scores[image, rows], each.scores)
        assert (outputs.labels[image, len(each) :] == -1).all()
        if each.mask_crops is not None:
            torch.testing.assert_close(
                outputs.mask_logits[image, rows].sigmoid(), each.mask_crops, rtol=1e-3, atol=1e-4
            )
        if each.keypoints is not None:
            places, _ = model.postprocess.keypoints(outputs.keypoint_logits[image, rows], each.boxes)
            assert ((places - each.keypoints).abs() < 1).float().mean() > 0.98


def test_rows_without_an_object_are_pooled_from_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in a box of no size some runtimes take for NaN, which ends in the scales of an int8 file."""
    model, seen = rcnn().eval(), []
    for name in ("mask_logits", "keypoint_logits"):
        real = getattr(model, name)
        monkeypatch.setattr(
            model,
            name,
            lambda pyramid, boxes, *more, real=real: (seen.append(boxes), real(pyramid, boxes, *more))[1],
        )
    with torch.no_grad():
        outputs = model(batch_of((64, 96)), postprocess=model.postprocess.with_limits(min_score=1.0))
    assert (outputs.labels < 0).all() and len(seen) == 2
    assert all((boxes == torch.tensor([0.0, 0, 1, 1])).all() and len(boxes) for boxes in seen)


def test_restoring_scales_boxes_and_keypoints_and_pastes_masks_anew() -> None:
    model = rcnn().eval()
    (found,) = model.detect(batch_of((64, 96)))
    (large,) = model.restore([found], [(128, 192)])
    assert large.masks.shape == (len(found), 128, 192)
    torch.testing.assert_close(large.boxes, found.boxes * 2)
    torch.testing.assert_close(large.keypoints, found.keypoints * 2)
    expected = model.postprocess.masks(found.mask_crops, large.boxes, (128, 192))
    assert torch.equal(large.masks, expected)


def test_half_precision_finds_what_single_precision_finds(model: RCNN) -> None:
    """Each object of the one is among all that the other considers, which on a pyramid looks at more
    regions: of near-equal ones rounding chooses."""
    images = batch_of((75, 133), (64, 64))
    wide, half = (optimize(model, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    if model.neck is not None:  # without a pyramid every region costs the backbone's last stage
        more = replace(half.proposals.inference, max_iou=1.0, max_proposals=300)
        half.proposals = replace(half.proposals, inference=more)
    with torch.no_grad():
        expected, outputs = wide.detect(images), half(images)
        considered = replace(model.postprocess, min_score=0.0).candidates(outputs, images.sizes, half.decode)
    assert all(len(each) for each in expected)
    for one, boxes in zip(expected, considered.boxes, strict=True):
        near = (one.boxes[:, None] - boxes).abs().amax(2) < 2.0
        assert near.any(1).float().mean() >= 0.8


def test_masks_of_objects_that_stay_where_they_are_are_not_pasted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = rcnn(shapes=("mask",)).eval()
    (found,) = model.detect(batch_of((64, 96)))
    (moved,) = model.restore([replace(found, boxes=found.boxes + 4.0)], [(64, 96)])
    assert torch.equal(moved.masks, model.postprocess.masks(found.mask_crops, moved.boxes, (64, 96)))
    monkeypatch.setattr(SelectRoIs, "masks", None)
    (same,) = model.restore([found], [(64, 96)])
    assert len(found) and same.masks is found.masks


def test_restored_masks_keep_the_limits_they_were_found_with() -> None:
    """Of a threshold nothing reaches no pixel comes back, whatever the model's own is."""
    model = rcnn(shapes=("mask",)).eval()
    images = batch_of((64, 96))
    strict = replace(model.postprocess, min_mask_probability=0.999)
    (found,), (own,) = model.detect(images, postprocess=strict), model.detect(images)
    (large,) = model.restore([found], [(128, 192)])
    assert len(found) and not found.masks.any() and not large.masks.any()
    assert model.restore([own], [(128, 192)])[0].masks.any()
    (at_once,) = model.detect(images, postprocess=strict, sizes=[(128, 192)])
    assert torch.equal(at_once.masks, large.masks) and torch.equal(at_once.boxes, large.boxes)


def test_masks_that_nobody_can_paste_are_refused() -> None:
    model = rcnn(shapes=("mask",)).eval()
    (found,) = model.detect(batch_of((64, 96)))
    with pytest.raises(ValueError, match="carry no mask_crops"):
        model.restore([replace(found, mask_crops=None)], [(128, 192)])
    (bare,) = model.restore([replace(found, mask_crops=None, masks=None)], [(128, 192)])
    assert bare.masks is None


def test_prediction_and_evaluation_paste_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rcnn(shapes=("mask",), input_spec=InputSpec(short_side=64, long_side=96)).eval()
    sizes: list[tuple[int, int]] = []

    paste = SelectRoIs.masks

    def count(select: SelectRoIs, probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        sizes.append(size)
        return paste(select, probabilities, boxes, size)

    monkeypatch.setattr(SelectRoIs, "masks", count)
    found = model.predict(torch.zeros(3, 50, 70, dtype=torch.uint8), min_score=0.0)
    assert sizes == [(50, 70)] and found.masks.shape[1:] == (50, 70)
    data = DrawnShapes(2, image_size=(40, 60), seed=1)
    list(detect_dataset(model, data, batch_size=2))
    assert sizes[1:] == [(40, 60), (40, 60)]


@pytest.mark.parametrize("count", [0, 1, 40])
def test_losses_of_any_number_of_objects(model: RCNN, count: int) -> None:
    size = (96, 128)
    model.train()
    losses = model.losses(batch_of(size, size), [objects(size, count), Targets.empty(size)])
    wanted = {"loss_objectness", "loss_rpn_box", "loss_class", "loss_box"}
    wanted |= {"loss_mask"} if model.mask_head is not None else set()
    wanted |= {"loss_keypoint"} if model.keypoint_head is not None else set()
    assert set(losses) == wanted
    assert all(loss.ndim == 0 and torch.isfinite(loss) and loss >= 0 for loss in losses.values())
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is None or torch.isfinite(grad).all() for grad in gradients.values())
    if count:
        silent = [name for name, grad in gradients.items() if grad is None or not grad.any()]
        assert not [name for name in silent if not name.startswith("neck.")], silent


def test_losses_and_forward_propose_alike() -> None:
    model, images = rcnn().eval(), batch_of((96, 128))
    with torch.no_grad():
        training = model.propose(images, model.proposals.training)
        inference = model.propose(images, model.proposals.inference)
    assert training.proposals.valid.sum() == 60 and inference.proposals.valid.sum() == 40
    assert torch.equal(training.proposals.boxes[:, :40], inference.proposals.boxes)
    assert sorted(inference.pyramid) == [2, 3, 4, 5] and len(inference.rpn.anchors) == 5


def test_a_batch_says_what_its_pictures_say_alone() -> None:
    model, images = rcnn(shapes=("mask",)).eval(), batch_of((96, 128), (96, 128))
    with torch.no_grad():
        together = model.detect(images)
        alone = [
            model.detect(ImageBatch(images.pixels[i : i + 1], images.sizes[i : i + 1]))[0] for i in (0, 1)
        ]
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both.boxes, one.boxes, rtol=1e-3, atol=1e-2)
        assert torch.equal(both.labels, one.labels) and (both.masks != one.masks).sum() < 20


def test_targets_without_masks_are_named() -> None:
    model = rcnn(shapes=("mask",)).train()
    target = replace(objects((64, 64), 2), masks=None, file="street.jpg")
    with pytest.raises(ValueError, match=r"the targets of street\.jpg have none"):
        model.losses(batch_of((64, 64)), [target])


def test_parts_that_do_not_fit() -> None:
    backbone = ResNet(18, levels=(4,))
    head = BoxHead(BoxTrunk(256, 7, width=8), 3, pooling=COARSE)
    with pytest.raises(ValueError, match="proposal head speaks of 2 anchors per cell, but there are 3"):
        RCNN(backbone, None, rpn_head=RPNHead(backbone.channels, 2), box_head=head)
    with pytest.raises(ValueError, match="predicts 3 classes but the label map names 2"):
        RCNN(
            backbone,
            None,
            rpn_head=RPNHead(backbone.channels, 3),
            box_head=head,
            label_map=LabelMap.from_names(["a", "b"]),
        )


# Tracing costs by the level: two to pool from and one more, with both heads, stand for all.
@pytest.mark.parametrize(
    ("neck", "shapes"),
    [
        # tests/exporting has one whose objects are chosen inside, too
        pytest.param("short", ("mask", "keypoint"), marks=pytest.mark.slow),
        pytest.param("fpn", ("mask",), marks=pytest.mark.slow),
        pytest.param("fpn", ("keypoint",), marks=pytest.mark.slow),
    ],
)
def test_exports_at_other_sizes(neck: str, shapes: tuple[str, ...]) -> None:
    model = rcnn(neck, shapes).eval()
    images = batch_of((64, 96))
    if model.keypoint_head is not None:  # a fresh head says ±40, and rounding with it
        with torch.no_grad():
            model.keypoint_head.predict.weight /= model(images).keypoint_logits.std()
    program = export_forward(model).module()
    with torch.no_grad():
        exported, eager = program(images), model(images)
    assert type(exported) is type(eager)
    for field, expected in eager._asdict().items():
        torch.testing.assert_close(getattr(exported, field), expected, msg=field)


@pytest.mark.slow
def test_learns_two_pictures_by_heart() -> None:
    torch.manual_seed(0)
    criterion = RCNNCriterion(rpn=RPNCriterion(count=64), rois=RoICriterion(count=64))
    model = rcnn(criterion=criterion).train()
    pictures, targets = [], []
    for number in range(2):
        target = objects((128, 128), 2)
        picture = torch.full((3, 128, 128), 100, dtype=torch.uint8)
        for mask, label in zip(target.masks, target.labels, strict=True):
            picture[:, mask] = torch.tensor([[250, 20, 20], [20, 220, 20], [20, 20, 250]])[
                label, :, None
            ].byte()
        pictures.append(picture)
        targets.append(replace(target, visibility=torch.full((2, 5), 2.0), image_id=number))
    images = InputSpec().batch(pictures)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for _ in range(300):
        optimizer.zero_grad()
        losses = model.losses(images, targets)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert float(losses["loss_class"].detach()) < 0.2 and float(losses["loss_mask"].detach()) < 0.3
