"""The heads over clips: the heads of pictures on every frame, and which numbers belong to which frame."""

import pytest
import torch

from pagoda.heads.roi_box import BoxHead, BoxTrunk, StageTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.rpn import RPNHead
from pagoda.heads.tube_box import TubeBoxHead
from pagoda.heads.tube_keypoint import TubeKeypointHead
from pagoda.heads.tube_rpn import TubeRPNHead
from pagoda.layers.inflate import inflate_state
from pagoda.ops.roi import RoIPooling

POOLING = RoIPooling()


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("time_kernel", [1, 3])
def test_proposals_are_those_of_every_frame_with_the_mean_of_their_logits(
    time_kernel: int, clips: int
) -> None:
    flat, deep = RPNHead({3: 8, 2: 8}, 3), TubeRPNHead({2: 8, 3: 8}, 3, time_kernel=time_kernel)
    deep.load_state_dict(inflate_state(flat.state_dict(), deep.state_dict()))
    pyramid = {3: torch.randn(clips, 8, 4, 2, 3), 2: torch.randn(clips, 8, 4, 4, 6)}
    logits, deltas = deep(pyramid)
    assert logits.shape == (clips, 90) and deltas.shape == (clips, 90, 4, 4) and deep.anchors == 3
    frames = [flat({level: x[:, :, frame] for level, x in pyramid.items()}) for frame in range(4)]
    torch.testing.assert_close(logits, torch.stack([each[0] for each in frames]).mean(0))
    torch.testing.assert_close(deltas, torch.stack([each[1] for each in frames], dim=2))


def test_which_number_belongs_to_which_anchor_frame_and_coordinate() -> None:
    """Channels are anchors × coordinates; the clip holds 10·frame + 100·row + 1000·column."""
    head = TubeRPNHead({2: 1}, 3, time_kernel=1)
    with torch.no_grad():
        for layer in (head.tower[0], head.deltas):
            layer.weight.zero_()
        head.tower[0].weight[0, 0, 0, 1, 1] = 1
        head.deltas.weight.fill_(1)
        head.deltas.bias.copy_(torch.arange(3)[:, None].mul(10_000).add(torch.arange(4)).flatten())
    frame, row, column = torch.meshgrid(torch.arange(3), torch.arange(2), torch.arange(4), indexing="ij")
    clip = (10 * frame + 100 * row + 1000 * column).float()[None, None]
    _, deltas = head({2: clip})
    for row in range(2):
        for column in range(4):
            for anchor in range(3):
                for frame in range(3):
                    for coordinate in range(4):
                        found = deltas[0, (row * 4 + column) * 3 + anchor, frame, coordinate]
                        assert found == 10_000 * anchor + 1000 * column + 100 * row + 10 * frame + coordinate


def test_parameters_of_the_published_proposal_head() -> None:
    with torch.device("meta"):
        deep, flat = TubeRPNHead({4: 256}, 12), TubeRPNHead({4: 256}, 12, time_kernel=1)
    assert sum(p.numel() for p in flat.parameters()) == 605_500
    assert sum(p.numel() for p in deep.parameters()) == 1_785_148


def test_proposal_heads_want_one_width() -> None:
    with pytest.raises(ValueError, match=r"same channels on every level, got \{2: 8, 3: 16\}"):
        TubeRPNHead({2: 8, 3: 16}, 3)


@pytest.mark.parametrize("class_agnostic", [True, False])
@pytest.mark.parametrize("stage", [True, False])
def test_boxes_are_those_of_every_frame_with_the_mean_of_their_logits(
    stage: bool, class_agnostic: bool
) -> None:
    trunk = StageTrunk(torch.nn.Conv2d(8, 12, 3), 12) if stage else BoxTrunk(8, 7, width=16)
    flat = BoxHead(trunk, 3, pooling=POOLING, class_agnostic=class_agnostic, background="first")
    head = TubeBoxHead(flat)
    assert head.pooling is POOLING and head.num_classes == 3
    pooled = torch.randn(5, 4, 8, 7, 7)
    logits, deltas = head(pooled)
    assert logits.shape == (5, 4) and deltas.shape == (5, 1 if class_agnostic else 3, 4, 4)
    frames = [flat(pooled[:, frame]) for frame in range(4)]
    torch.testing.assert_close(logits, torch.stack([each[0] for each in frames]).mean(0))
    torch.testing.assert_close(deltas, torch.stack([each[1] for each in frames], dim=2))
    assert [x.shape for x in head(pooled[:0])] == [(0, 4), (0, deltas.shape[1], 4, 4)]


@pytest.mark.parametrize("upsampling", ["interpolate", "deconvolution"])
@pytest.mark.parametrize("time_kernel", [1, 3])
def test_keypoints_are_those_of_every_frame(time_kernel: int, upsampling: str) -> None:
    options = {"pooling": POOLING, "depth": 3, "width": 12, "upsampling": upsampling}
    flat, deep = KeypointHead(4, 5, **options), TubeKeypointHead(4, 5, time_kernel=time_kernel, **options)
    deep.load_state_dict(inflate_state(flat.state_dict(), deep.state_dict()))
    assert list(flat.state_dict()) == list(deep.state_dict()) or set(flat.state_dict()) == set(
        deep.state_dict()
    )
    pooled = torch.randn(6, 3, 4, 14, 14)
    found = deep(pooled)
    assert found.shape == (6, 3, 5, 56, 56) and deep.num_keypoints == 5
    for frame in range(3):
        torch.testing.assert_close(found[:, frame], flat(pooled[:, frame]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deep(pooled[:1]), found[:1], rtol=1e-4, atol=1e-4)
    assert deep(pooled[:0]).shape == (0, 3, 5, 56, 56)


def test_keypoints_of_a_frame_hear_of_its_neighbours() -> None:
    head = TubeKeypointHead(4, 2, pooling=POOLING, depth=2, width=8)
    pooled = torch.randn(1, 5, 4, 7, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(head(pooled)[:, 0].sum(), pooled)
    assert (gradient.abs().amax((0, 2, 3, 4)) > 0).tolist() == [True, True, True, False, False]


def test_keypoint_head_without_a_tower() -> None:
    head = TubeKeypointHead(4, 5, pooling=POOLING, depth=0)
    assert head(torch.randn(2, 3, 4, 7, 7)).shape == (2, 3, 5, 28, 28)


@pytest.mark.parametrize(("time_kernel", "parameters"), [(1, 17_842_738), (3, 53_232_178)])
def test_parameters_of_the_published_keypoint_head(time_kernel: int, parameters: int) -> None:
    """The original stores its fixed bilinear kernel, too: 17 × 17 × 4 × 4 and as many biases as keypoints."""
    with torch.device("meta"):
        head = TubeKeypointHead(256, 17, pooling=POOLING, time_kernel=time_kernel)
    assert sum(p.numel() for p in head.parameters()) + 17 * 17 * 16 + 17 == parameters
