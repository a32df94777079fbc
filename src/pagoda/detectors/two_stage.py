"""What detectors that look at their proposals again share; each paper's own part is in its file."""

from torch import nn

from pagoda.detectors.anchors import AnchorGrid
from pagoda.detectors.contract import Detector
from pagoda.ops.anchors import AnchorShapes

# 32 pixels on P2, doubling with every level.
PYRAMID_ANCHORS = AnchorShapes(base_scale=8.0, octaves=1)


class TwoStageDetector(Detector):
    """A proposal network on anchors, a box head on what it proposes, and heads that see the objects found."""

    backbone: nn.Module
    neck: nn.Module | None
    rpn_head: nn.Module
    box_head: nn.Module
    keypoint_head: nn.Module | None
    anchors: AnchorGrid
    levels: list[int]
    """finest first"""
    roi_levels: list[int]
    """of them those that the box head and its fellows read"""
    strides: dict[int, int]
    """{level: pixels from cell to cell}"""


def check_anchors(rpn_head: nn.Module, anchors: AnchorGrid) -> None:
    """Raises ValueError where the proposal head was built for another number of anchors."""
    if rpn_head.anchors != anchors.per_cell:
        raise ValueError(
            f"the proposal head speaks of {rpn_head.anchors} anchors per cell, but there are {anchors.per_cell}"
        )
