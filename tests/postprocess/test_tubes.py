"""Tube proposals and tubes: against loops, against the boxes of single frames, and as exported graphs."""

from dataclasses import replace

import pytest
import torch
from torch import tensor

from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.tubes import tube_iou
from pagoda.postprocess.proposals import SelectProposals
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.tubes import SelectTubeProposals, SelectTubes, TubeProposalRules
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RoIOutputs, RPNOutputs, TubeOutputs

pytestmark = pytest.mark.medium

SIZES = torch.tensor([[60, 80], [40, 50]])
LABELS = LabelMap.from_names(["person", "dog", "bird"])
FRAMES = [(3, 4, 5), (0, 0, 1)]
CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


def rpn_outputs(num_frames: int) -> RPNOutputs:
    anchors = []
    for count in (40, 15):
        corner = torch.rand(count, 2) * torch.tensor([70.0, 50.0])
        anchors.append(torch.cat([corner, corner + 3 + torch.rand(count, 2) * 30], 1))
    return RPNOutputs(torch.randn(2, 55), torch.randn(2, 55, num_frames, 4) * 0.2, tuple(anchors))


def cut(tube: torch.Tensor, clip: int, inclusive: bool) -> torch.Tensor:
    height, width = (SIZES[clip] - int(inclusive)).tolist()
    return torch.stack([tube[:, 0].clamp(0, width), tube[:, 1].clamp(0, height),
                        tube[:, 2].clamp(0, width), tube[:, 3].clamp(0, height)], 1)  # fmt: skip


def slow_proposals(
    outputs: RPNOutputs, clip: int, select: SelectTubeProposals
) -> list[tuple[float, torch.Tensor]]:
    """(logit, (T, 4) tube), best first."""
    found, first = [], 0
    for anchors in outputs.anchors:
        rows = range(first, first + len(anchors))
        order = sorted(rows, key=lambda row: -float(outputs.logits[clip, row]))[: select.max_candidates]
        kept: list[tuple[float, torch.Tensor]] = []
        for row in order:
            frames = [BoxCoder().decode(each, anchors[row - first]) for each in outputs.deltas[clip, row]]
            tube = cut(torch.stack(frames), clip, select.inclusive)
            if (tube[:, 2:] - tube[:, :2]).min() <= (-1 if select.min_side is None else select.min_side):
                continue
            ious = [tube_iou(tube[None], other[None], inclusive=select.inclusive) for _, other in kept]
            if all(iou <= select.max_iou for iou in ious):
                kept.append((float(outputs.logits[clip, row]), tube))
        found += kept[: select.max_per_level]
        first += len(anchors)
    return sorted(found, key=lambda pair: -pair[0])[: select.max_proposals]


@pytest.mark.parametrize(
    "select",
    [
        SelectTubeProposals(),
        SelectTubeProposals(max_candidates=20, max_proposals=12, max_iou=0.4, inclusive=True),
        SelectTubeProposals(max_candidates=30, max_per_level=5, max_iou=0.5, min_side=8.0),
        SelectTubeProposals(min_side=None),
    ],
)
def test_proposals_equal_a_loop(select: SelectTubeProposals) -> None:
    outputs = rpn_outputs(3)
    found = select(outputs, SIZES, BoxCoder())
    for clip in range(2):
        expected, valid = slow_proposals(outputs, clip, select), found.valid[clip]
        assert valid.sum() == len(expected) and valid[: len(expected)].all()
        torch.testing.assert_close(found.scores[clip, valid], tensor([logit for logit, _ in expected]))
        torch.testing.assert_close(found.boxes[clip, valid], torch.stack([tube for _, tube in expected]))
        assert (found.boxes[clip, ~valid] == 0).all() and (found.scores[clip, ~valid] == 0).all()


@pytest.mark.parametrize(
    "options", [{}, {"pool": "batch", "max_proposals": 9, "inclusive": True, "rank_on": "probability"}]
)
def test_proposals_of_one_frame_are_those_of_pictures(options: dict) -> None:
    outputs = rpn_outputs(1)
    found = SelectTubeProposals(**options)(outputs, SIZES, BoxCoder())
    flat = outputs._replace(deltas=outputs.deltas[:, :, 0])
    expected = SelectProposals(**options)(flat, SIZES, BoxCoder())
    assert torch.equal(found.boxes[:, :, 0], expected.boxes)
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.valid, expected.valid)


def test_a_tube_that_leaves_the_picture_in_one_frame_is_no_proposal() -> None:
    outputs = RPNOutputs(torch.zeros(1, 1), torch.zeros(1, 1, 3, 4), (tensor([[10.0, 10, 30, 30]]),))
    assert SelectTubeProposals()(outputs, SIZES[:1], BoxCoder()).valid.all()
    outputs.deltas[0, 0, 1, 0] = 5.0  # five widths to the right
    assert not SelectTubeProposals()(outputs, SIZES[:1], BoxCoder()).valid.any()
    assert SelectTubeProposals(min_side=None)(outputs, SIZES[:1], BoxCoder()).valid.all()


def test_equal_overlap_is_too_much_where_said() -> None:
    anchors = tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # overlap by a half
    outputs = RPNOutputs(tensor([[2.0, 1.0]]), torch.zeros(1, 2, 1, 4), (anchors,))
    for num_frames in (1, 2):
        outputs = outputs._replace(deltas=torch.zeros(1, 2, num_frames, 4))
        for select in (
            SelectTubeProposals(max_iou=0.5),
            SelectTubeProposals(max_iou=0.5, suppress_equal=True),
        ):
            kept = select(outputs, SIZES[:1], BoxCoder()).valid.sum()
            assert kept == (1 if select.suppress_equal else 2)


def tube_outputs(num_frames: int, *, boxes_per_tube: int = 3, count: int = 30) -> TubeOutputs:
    corner = torch.rand(2, count, 1, 2) * tensor([40.0, 30.0]) + torch.randn(2, count, num_frames, 2)
    boxes = torch.cat([corner, corner + 3 + torch.rand(2, count, 1, 2) * 20], -1).clamp(min=0)
    valid = torch.rand(2, count) < 0.8
    none = torch.zeros(2, 0)
    return TubeOutputs(
        torch.randn(2, count, 4) * 2,
        torch.randn(2, count, boxes_per_tube, num_frames, 4) * 0.1,
        Proposals(boxes * valid[..., None, None], valid.float(), valid),
        torch.zeros(2, 0, num_frames, 4),
        none,
        none.long(),
        None,
    )


def slow_tubes(outputs: TubeOutputs, clip: int, select: SelectTubes) -> list[tuple[float, int, torch.Tensor]]:
    """(score, label, (T, 4) tube), best first."""
    probability = outputs.class_logits[clip].softmax(-1)
    found = []
    for label in range(3):
        candidates = []
        for row in range(len(probability)):
            if outputs.proposals.valid[clip, row] and probability[row, label] > select.min_score:
                deltas = outputs.box_outputs[clip, row]
                deltas = deltas[label if len(deltas) > 1 else 0]
                tube = CODER.decode(deltas, outputs.proposals.boxes[clip, row])
                candidates.append((float(probability[row, label]), label, cut(tube, clip, False)))
        kept: list[tuple[float, int, torch.Tensor]] = []
        for each in sorted(candidates, key=lambda triple: -triple[0]):
            if all(tube_iou(each[2][None], other[2][None]) <= select.max_iou for other in kept):
                kept.append(each)
        found += kept
    return sorted(found, key=lambda triple: -triple[0])[: select.max_detections]


@pytest.mark.parametrize("boxes_per_tube", [3, 1])
@pytest.mark.parametrize("max_detections", [100, 7])
def test_tubes_equal_a_loop(boxes_per_tube: int, max_detections: int) -> None:
    outputs = tube_outputs(3, boxes_per_tube=boxes_per_tube)
    select = SelectTubes(max_detections=max_detections, max_iou=0.4)
    fixed = select(outputs, SIZES, CODER.decode)
    images = ImageBatch(torch.zeros(2, 3, 3, 60, 80), SIZES)
    ragged = select.detect(outputs, images, CODER.decode, LABELS, FRAMES, 1)
    for clip, tubes in enumerate(ragged):
        expected = slow_tubes(outputs, clip, select)
        scores, labels, boxes = zip(*expected, strict=True)
        torch.testing.assert_close(tubes.boxes, torch.stack(boxes))
        torch.testing.assert_close(tubes.scores, tensor(scores))
        assert tubes.labels.tolist() == list(labels)
        count = len(expected)
        assert torch.equal(fixed.boxes[clip, :count], tubes.boxes)
        assert torch.equal(fixed.scores[clip, :count], tubes.scores)
        assert (fixed.labels[clip, count:] == -1).all() and (fixed.boxes[clip, count:] == 0).all()
        assert (tubes.frames, tubes.key) == (FRAMES[clip], 1)
        assert tubes.image_size == tuple(SIZES[clip].tolist()) and tubes.at(1).names


@pytest.mark.parametrize(
    "options",
    [{}, {"clip": "after", "drop_empty": True, "order": "location"}, {"min_side": 9.0, "inclusive": True}],
)
def test_tubes_of_one_frame_are_the_objects_of_pictures(options: dict) -> None:
    outputs = tube_outputs(1)
    flat = RoIOutputs(
        outputs.class_logits,
        outputs.box_outputs[:, :, :, 0],
        outputs.proposals._replace(boxes=outputs.proposals.boxes[:, :, 0]),
        *(outputs.boxes[:, :, 0], outputs.scores, outputs.labels, None, None),
    )
    tubes, regions = SelectTubes(**options), SelectRoIs(**options)
    found, expected = tubes(outputs, SIZES, CODER.decode), regions(flat, SIZES, CODER.decode)
    assert torch.equal(found.boxes[:, :, 0], expected.boxes) and (expected.labels >= 0).any()
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.labels, expected.labels)
    images = ImageBatch(torch.zeros(2, 3, 1, 60, 80), SIZES)
    ragged = tubes.detect(outputs, images, CODER.decode, LABELS, [(3,), (0,)], 0)
    for each, picture in zip(ragged, regions.detect(flat, images, CODER.decode, LABELS), strict=True):
        assert torch.equal(each.at(0).boxes, picture.boxes) and torch.equal(each.scores, picture.scores)
        assert torch.equal(each.labels, picture.labels)


@pytest.mark.parametrize("clip", ["before", "after"])
def test_small_and_empty_tubes_are_dropped_for_any_of_their_frames(clip: str) -> None:
    outputs = tube_outputs(3, count=2)
    boxes = tensor([[[0.0, 0, 20, 20]] * 3, [[20.0, 20, 40, 40], [90, 10, 110, 30], [20, 20, 40, 40]]])
    outputs = outputs._replace(
        class_logits=tensor([[[5.0, 0, 0, 0]] * 2] * 2),
        box_outputs=torch.zeros(2, 2, 3, 3, 4),
        proposals=Proposals(boxes.expand(2, -1, -1, -1), torch.ones(2, 2), torch.ones(2, 2).bool()),
    )
    every = SelectTubes(clip=clip, min_score=0.5)(outputs, SIZES, CODER.decode)
    assert (every.labels >= 0).sum(1).tolist() == [2, 2]
    full = SelectTubes(clip=clip, min_score=0.5, drop_empty=True)(outputs, SIZES, CODER.decode)
    assert (full.labels >= 0).sum(1).tolist() == [1, 1]
    if clip == "before":
        large = SelectTubes(min_score=0.5, min_side=1.0)(outputs, SIZES, CODER.decode)
        assert (large.labels >= 0).sum(1).tolist() == [1, 1]


def test_no_tubes() -> None:
    outputs = tube_outputs(3)
    images = ImageBatch(torch.zeros(2, 3, 3, 60, 80), SIZES)
    nothing = SelectTubes(min_score=0.9999).detect(outputs, images, CODER.decode, LABELS, FRAMES, 1)
    assert [each.boxes.shape for each in nothing] == [(0, 3, 4), (0, 3, 4)]
    places, scores = SelectTubes().keypoints(torch.zeros(0, 3, 17, 14, 14), torch.zeros(0, 3, 4))
    assert places.shape == (0, 3, 17, 2) and scores.shape == (0, 3, 17)


def test_keypoints_are_read_in_every_frame_s_own_box() -> None:
    maps = torch.zeros(1, 3, 1, 56, 56)
    maps[..., 10, 20] = 5.0
    boxes = tensor([[[100.0, 50, 156, 106], [100, 50, 155.5, 105.25], [0, 0, 56, 56]]])
    places, probabilities = SelectTubes().keypoints(maps, boxes)
    expected = tensor([[120.5, 60.5], [120.31696, 60.359375], [20.5, 10.5]])
    torch.testing.assert_close(places[0, :, 0], expected, atol=1e-4, rtol=0)
    assert float(probabilities[0, 0, 0]) == pytest.approx(0.045201, abs=1e-6)
    _, logits = SelectTubes(keypoint_score="logit").keypoints(maps, boxes)
    assert float(logits[0, 0, 0]) == pytest.approx(5.0, abs=1e-5)


class BothStages(torch.nn.Module):
    """All of selection that a forward pass holds."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = TubeProposalRules()

    def forward(self, logits, deltas, coarse, fine, class_logits, box_outputs, sizes):
        proposals = self.rules.inference(RPNOutputs(logits, deltas, (fine, coarse)), sizes, BoxCoder())
        none = class_logits[:, :0, 0]
        outputs = TubeOutputs(
            class_logits, box_outputs, proposals, proposals.boxes[:, :0], none, none.long(), None
        )
        return SelectTubes()(outputs, sizes, CODER.decode)


@pytest.mark.parametrize("num_frames", [1, 3])
def test_both_stages_export(num_frames: int) -> None:
    outputs, regions = rpn_outputs(num_frames), tube_outputs(num_frames, count=55)
    fine, coarse = outputs.anchors
    inputs = (outputs.logits, outputs.deltas, coarse, fine, regions.class_logits, regions.box_outputs, SIZES)
    batch = torch.export.Dim("batch", min=1, max=8)
    dynamic = [{0: batch}, {0: batch}, None, None, {0: batch}, {0: batch}, {0: batch}]
    program = torch.export.export(BothStages(), inputs, dynamic_shapes=dynamic)
    one = tuple(x[:1] if spec else x for x, spec in zip(inputs, dynamic, strict=True))
    for each in (inputs, one):
        found, expected = program.module()(*each), BothStages()(*each)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert (expected.labels >= 0).any()


def test_limits_may_be_changed() -> None:
    changed = SelectTubes(suppress_equal=True).with_limits(min_score=0.3, max_detections=None)
    assert changed == replace(SelectTubes(), suppress_equal=True, min_score=0.3)
