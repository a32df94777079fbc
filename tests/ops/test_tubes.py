"""Tubes against worked numbers, plain loops, and the boxes they are when a clip has one frame."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from pagoda.ops import tubes as module
from pagoda.ops.anchors import cell_anchors
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.nms import batch_survivors, nms_survivors
from pagoda.ops.roi import RoIPooling
from pagoda.ops.tubes import (
    batch_tube_survivors,
    fill_absent,
    pool_tubes,
    replicate_anchors,
    tube_iou,
    tube_survivors,
)

pytestmark = pytest.mark.medium


def some_tubes(count: int, num_frames: int, seed: int = 0) -> torch.Tensor:
    """Tubes in heaps, so that they overlap."""
    generator = torch.Generator().manual_seed(seed)
    heap = torch.randint(0, max(count // 4, 1), (count,), generator=generator)
    corner = torch.rand(count, 1, 2, generator=generator)[heap] * 200
    corner = corner + torch.randn(count, num_frames, 2, generator=generator) * 5
    sides = torch.rand(count, 1, 2, generator=generator)[heap] * 50 + 20
    return torch.cat([corner, corner + sides], -1)


def test_anchors_stand_still() -> None:
    anchors = cell_anchors(
        16, scales=(4.0, 8.0, 16.0, 32.0), octaves=1, ratios=(0.5, 1.0, 2.0), style="maskrcnn_benchmark"
    )
    table = [
        (-38, -16, 53, 31), (-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199),
        (-24, -24, 39, 39), (-56, -56, 71, 71), (-120, -120, 135, 135), (-248, -248, 263, 263),
        (-14, -36, 29, 51), (-36, -80, 51, 95), (-80, -168, 95, 183), (-168, -344, 183, 359),
    ]  # fmt: skip
    assert replicate_anchors(anchors, 3).flatten(1).tolist() == [[*row, *row, *row] for row in table]


def test_overlap_is_the_mean_of_the_frames() -> None:
    anchor = tensor([[10.0, 20, 50, 100]]).expand(3, 4)[None]
    person = tensor([[[14.0, 26, 60, 120], [0, 0, 0, 0], [19, 31, 65, 125]]])
    per_frame = [
        float(tube_iou(anchor[:, t : t + 1], person[:, t : t + 1], inclusive=True)) for t in range(3)
    ]
    assert per_frame == pytest.approx([0.553782, 0.0, 0.403895], abs=1e-6)
    assert float(tube_iou(anchor, person, inclusive=True)) == pytest.approx(0.319225, abs=1e-6)
    seen = tube_iou(anchor, person, inclusive=True, visible=tensor([[True, False, True]]))
    assert float(seen) == pytest.approx((0.553782 + 0.403895) / 2, abs=1e-6)
    assert float(tube_iou(anchor, person, visible=torch.zeros(1, 3, dtype=torch.bool))) == 0.0


@given(seed=st.integers(0, 10_000), num_frames=st.integers(1, 4), inclusive=st.booleans())
def test_overlaps_equal_a_loop(seed, num_frames, inclusive) -> None:
    a, b = some_tubes(5, num_frames, seed), some_tubes(4, num_frames, seed + 1)
    visible = torch.rand(4, num_frames) < 0.6
    found, of_seen = (
        tube_iou(a, b, inclusive=inclusive),
        tube_iou(a, b, inclusive=inclusive, visible=visible),
    )
    for i in range(5):
        for j in range(4):
            ious = [
                float(pairwise_iou(a[i, t][None], b[j, t][None], inclusive=inclusive))
                for t in range(num_frames)
            ]
            seen = [iou for iou, is_seen in zip(ious, visible[j], strict=True) if is_seen]
            assert float(found[i, j]) == pytest.approx(sum(ious) / num_frames, abs=1e-6)
            assert float(of_seen[i, j]) == pytest.approx(sum(seen) / max(len(seen), 1), abs=1e-6)


def test_overlaps_of_one_frame_and_of_nothing() -> None:
    a, b = some_tubes(7, 1), some_tubes(5, 1, seed=3)
    assert torch.equal(tube_iou(a, b), pairwise_iou(a[:, 0], b[:, 0]))
    assert tube_iou(a, b[:0]).shape == (7, 0) and tube_iou(a[:0], b).shape == (0, 5)


@pytest.mark.parametrize(
    ("seen", "taken_from"),
    [
        ("YYYY", [0, 1, 2, 3]),
        ("-Y--", [1, 1, 1, 1]),
        ("Y--Y", [0, 0, 3, 3]),
        ("Y-Y-", [0, 0, 2, 2]),  # as near to both: the earlier
        ("----", [0, 0, 0, 0]),
    ],
)
def test_absent_frames_are_filled_from_the_nearest(seen: str, taken_from: list[int]) -> None:
    tube = some_tubes(1, 4)
    visible = tensor([[letter == "Y" for letter in seen]])
    assert torch.equal(fill_absent(tube, visible)[0], tube[0, taken_from])


THREE = tensor(
    [[[0.0, 0, 9, 9], [0, 0, 9, 9]], [[0, 0, 9, 9], [5, 0, 14, 9]], [[0, 0, 9, 9], [100, 100, 109, 109]]]
)


@pytest.mark.parametrize(
    ("max_iou", "kept"), [(0.5, [0, 2]), (0.6, [0, 2]), (2 / 3, [0, 1, 2]), (0.7, [0, 1, 2])]
)
def test_worked_suppression(max_iou: float, kept: list[int]) -> None:
    nobody_apart = torch.zeros(3, dtype=torch.long)
    survivors = tube_survivors(THREE, tensor([0.9, 0.8, 0.7]), nobody_apart, max_iou=max_iou, inclusive=True)
    assert survivors.nonzero().flatten().tolist() == kept


def plain_survivors(tubes, scores, groups, max_iou: float, inclusive: bool) -> list[bool]:
    """Slow twin: walk from the best tube down, keep what no kept tube of the group covers."""
    iou = torch.stack([pairwise_iou(x, x, inclusive=inclusive) for x in tubes.double().unbind(1)]).mean(0)
    kept: list[int] = []
    for candidate in scores.argsort(descending=True, stable=True).tolist():
        if all(iou[i, candidate] <= max_iou for i in kept if groups[i] == groups[candidate]):
            kept.append(candidate)
    return [i in kept for i in range(len(tubes))]


@given(seed=st.integers(0, 10_000), num_frames=st.integers(1, 3), inclusive=st.booleans())
def test_suppression_equals_the_plain_loop(seed, num_frames, inclusive) -> None:
    tubes, scores, groups = some_tubes(40, num_frames, seed), torch.rand(40), torch.randint(3, (40,))
    scores = (scores * 20).round() / 20  # some are equal
    survivors = tube_survivors(tubes, scores, groups, max_iou=0.5, inclusive=inclusive)
    assert survivors.tolist() == plain_survivors(tubes, scores, groups, 0.5, inclusive)


@pytest.mark.parametrize("block", [1, 7, 128])
def test_blocks_of_any_size_agree(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    tubes, scores, groups = some_tubes(300, 3), torch.rand(300), torch.zeros(300, dtype=torch.long)
    survivors = tube_survivors(tubes, scores, groups, max_iou=0.6)
    assert survivors.tolist() == plain_survivors(tubes, scores, groups, 0.6, False)


def test_a_chain_of_defeats_frees_every_other_tube() -> None:
    left = torch.arange(200.0)  # each overlaps its neighbours by more than .6, the ones beyond by less
    row = torch.stack([left * 2, torch.zeros(200), left * 2 + 10, torch.full((200,), 10.0)], 1)
    tubes = row[:, None].expand(-1, 3, -1)
    scores = torch.linspace(1, 0.1, 200)
    survivors = tube_survivors(tubes, scores, torch.zeros(200, dtype=torch.long), max_iou=0.6)
    assert survivors.tolist() == [i % 2 == 0 for i in range(200)]


def test_tubes_of_one_frame_are_suppressed_as_boxes() -> None:
    tubes, scores, groups = some_tubes(200, 1), torch.rand(200), torch.randint(4, (200,))
    survivors = tube_survivors(tubes, scores, groups, max_iou=0.5)
    assert torch.equal(survivors, nms_survivors(tubes[:, 0], scores, groups, max_iou=0.5))
    apart = batch_tube_survivors(tubes[None], scores[None], groups[None], 4, 0.5, False)
    assert torch.equal(apart, batch_survivors(tubes[None, :, 0], scores[None], groups[None], 4, 0.5, False))


def test_no_tubes() -> None:
    nobody = torch.zeros(0, dtype=torch.long)
    assert tube_survivors(torch.zeros(0, 3, 4), torch.zeros(0), nobody, max_iou=0.5).shape == (0,)


def batch(num_clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tubes = torch.stack([some_tubes(60, 3, seed) for seed in range(num_clips)])
    return tubes, torch.rand(num_clips, 60), torch.randint(3, (num_clips, 60))


def test_a_batch_is_its_clips_and_rows_without_score_are_out() -> None:
    tubes, scores, labels = batch(3)
    scores[:, ::7] = 0
    together = batch_tube_survivors(tubes, scores, labels, 3, 0.5, False)
    for clip in range(3):
        real = scores[clip] > 0
        alone = tube_survivors(tubes[clip][real], scores[clip][real], labels[clip][real], max_iou=0.5)
        assert torch.equal(together[clip][real], alone) and not together[clip][~real].any()


def test_a_batch_exports_as_one_operator() -> None:
    class Survivors(torch.nn.Module):
        def forward(self, tubes, scores, labels):
            return batch_tube_survivors(tubes, scores, labels, 3, 0.5, False)

    inputs = batch(2)
    program = torch.export.export(Survivors(), inputs)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "pagoda.batch_tube_survivors.default" in calls
    assert torch.equal(program.module()(*inputs), Survivors()(*inputs))


def test_features_come_from_the_own_clip_and_frame() -> None:
    value = 100.0 * torch.arange(2)[:, None] + torch.arange(3)  # (B, T)
    pyramid = {4: value[:, None, :, None, None].expand(2, 5, 3, 12, 16)}
    pooled = pool_tubes(RoIPooling(), pyramid, {4: 16.0}, some_tubes(4, 3), tensor([1, 0, 0, 1]))
    assert pooled.shape == (4, 3, 5, 7, 7)
    expected = value[tensor([1, 0, 0, 1])][..., None, None, None].expand_as(pooled)
    torch.testing.assert_close(pooled, expected)


def level_read_from(tube: torch.Tensor) -> int:
    """Which of the levels 2 to 5, filled with their numbers, a tube's features come from."""
    pyramid = {level: torch.full((1, 1, tube.shape[0], 8, 8), float(level)) for level in (2, 3, 4, 5)}
    pooling = RoIPooling(inclusive=True, eps=1e-6, resolution=1, sampling_ratio=1)
    strides = {level: 1000.0 for level in pyramid}  # every box lies within a cell
    pooled = pool_tubes(pooling, pyramid, strides, tube[None], tensor([0]))
    assert pooled.min() == pooled.max()
    return int(pooled.max())


@pytest.mark.parametrize(("side", "level"), [(111, 2), (112, 3), (223, 3), (224, 4), (447, 4), (448, 5)])
def test_level_of_a_square(side: int, level: int) -> None:
    assert level_read_from(tensor([[0.0, 0, side - 1, side - 1]]).expand(3, 4)) == level


def test_a_tube_is_read_from_one_level_that_of_its_mean_area() -> None:
    # 224² in one frame of three: √(224² / 3) = 129.3, a level below
    assert level_read_from(tensor([[0.0, 0, 223, 223], [0, 0, 0, 0], [0, 0, 0, 0]])) == 3
    assert level_read_from(tensor([[0.0, 0, 447, 447], [0, 0, 9, 9], [0, 0, 9, 9]])) == 4


def test_pooling_of_one_frame_and_of_nothing() -> None:
    maps = {level: torch.randn(2, 3, 1, 256 // 2**level, 256 // 2**level) for level in (2, 3, 4, 5)}
    strides, pooling = {level: 2.0**level for level in maps}, RoIPooling(resolution=4)
    tubes, clips = some_tubes(30, 1) * tensor([1.0, 1.0, 1.5, 2.0]), torch.randint(2, (30,))
    of_pictures = pooling({level: x[:, :, 0] for level, x in maps.items()}, strides, tubes[:, 0], clips)
    assert torch.equal(pool_tubes(pooling, maps, strides, tubes, clips)[:, 0], of_pictures)
    assert pool_tubes(pooling, maps, strides, tubes[:0], clips[:0]).shape == (0, 1, 3, 4, 4)


def test_features_of_another_length_than_the_tubes() -> None:
    with pytest.raises(ValueError, match=r"tubes of 3 frames need features of as many, got \{4: 2\}"):
        pool_tubes(RoIPooling(), {4: torch.zeros(1, 1, 2, 8, 8)}, {4: 16.0}, some_tubes(1, 3), tensor([0]))
