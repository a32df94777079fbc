"""Box deltas against worked numbers of both conventions; decoding undoes encoding."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from pagoda.ops.box_coding import MAX_LOG_GROWTH, BoxCoder, decode_boxes, encode_boxes

ONE, FASTER = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
#  inclusive, weights, anchor, object, deltas
WORKED = [
    (True, ONE, (-12, -12, 19, 19), (4, 6, 45, 33), (0.65625, 0.5, 0.2719337, -0.13353139)),
    (True, FASTER, (-12, -12, 19, 19), (4, 6, 45, 33), (6.5625, 5.0, 1.35966849, -0.66765696)),
    (False, ONE, (-16, -16, 16, 16), (4, 6, 46, 34), (0.78125, 0.625, 0.2719337, -0.13353139)),
    (False, FASTER, (-16, -16, 16, 16), (4, 6, 46, 34), (7.8125, 6.25, 1.35966849, -0.66765696)),
]


@pytest.mark.parametrize(("inclusive", "weights", "anchor", "box", "deltas"), WORKED)
def test_worked_deltas(inclusive, weights, anchor, box, deltas):
    anchors, boxes = tensor([anchor], dtype=torch.float32), tensor([box], dtype=torch.float32)
    encoded = encode_boxes(boxes, anchors, weights=weights, inclusive=inclusive)
    torch.testing.assert_close(encoded, tensor([deltas]), atol=1e-6, rtol=1e-6)
    decoded = decode_boxes(encoded, anchors, weights=weights, inclusive=inclusive)
    torch.testing.assert_close(decoded, boxes, atol=1e-5, rtol=1e-6)


@given(seed=st.integers(0, 10_000), inclusive=st.booleans(), weights=st.sampled_from([ONE, FASTER]))
def test_decoding_undoes_encoding(seed, inclusive, weights):
    generator = torch.Generator().manual_seed(seed)
    top_left = torch.rand(2, 20, 2, generator=generator) * 300
    sides = torch.rand(2, 20, 2, generator=generator) * 100 + 2
    anchors, boxes = torch.cat([top_left, top_left + sides], dim=-1)
    deltas = encode_boxes(boxes, anchors, weights=weights, inclusive=inclusive)
    back = decode_boxes(deltas, anchors, weights=weights, inclusive=inclusive)
    torch.testing.assert_close(back, boxes, atol=1e-3, rtol=1e-5)


def test_zero_deltas_are_the_anchor_itself():
    anchors = tensor([[3.0, 4.0, 30.0, 50.0]])
    for inclusive in (False, True):
        torch.testing.assert_close(decode_boxes(torch.zeros(1, 4), anchors, inclusive=inclusive), anchors)


def test_growth_is_cut_at_1000_over_16():
    assert pytest.approx(4.135166556742356, abs=1e-15) == MAX_LOG_GROWTH
    anchor = tensor([[-16.0, -16.0, 16.0, 16.0]])
    huge = tensor([[0.0, 0.0, 10.0, 0.0]])
    torch.testing.assert_close(decode_boxes(huge, anchor), tensor([[-1000.0, -16.0, 1000.0, 16.0]]))
    # The clamp acts on the log size itself, after the weights are taken out.
    weighted = decode_boxes(huge * 5, anchor, weights=FASTER)
    torch.testing.assert_close(weighted, tensor([[-1000.0, -16.0, 1000.0, 16.0]]))
    free = decode_boxes(huge, anchor, max_log_growth=None)
    assert free[0, 2].item() == pytest.approx(16 * math.exp(10), rel=1e-5)


def test_leading_axes_are_kept_and_nothing_gives_nothing():
    anchors = tensor([[0.0, 0.0, 8.0, 8.0]]).expand(2, 3, 4)
    assert decode_boxes(torch.zeros(2, 3, 4), anchors).shape == (2, 3, 4)
    assert encode_boxes(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert decode_boxes(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("weights", "deltas"),
    [(ONE, (0.170732, 0.160494, 0.136576, 0.159428)), (FASTER, (1.707317, 1.604938, 0.682878, 0.797139))],
)
def test_legacy_boxes_may_end_a_pixel_beyond(weights, deltas):
    anchors, boxes = tensor([[10.0, 20, 50, 100]]), tensor([[14.0, 26, 60, 120]])
    clean = BoxCoder(weights=weights, inclusive=True)
    encoded = clean.encode(boxes, anchors)
    torch.testing.assert_close(encoded, tensor([deltas]), atol=1e-6, rtol=0)
    torch.testing.assert_close(clean.decode(encoded, anchors), boxes)
    beyond = BoxCoder(weights=weights, inclusive=True, exclusive_ends=True)
    torch.testing.assert_close(beyond.encode(boxes, anchors), encoded)
    torch.testing.assert_close(beyond.decode(encoded, anchors), tensor([[14.0, 26, 61, 121]]))
