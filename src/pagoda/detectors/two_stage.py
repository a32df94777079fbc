"""What detectors that look at their proposals again share; each paper's own part is in its file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagoda.criteria.masks_keypoints import KeypointCriterion
from pagoda.criteria.rcnn import RCNNCriterion, RoISample
from pagoda.criteria.tubes import DetectAndTrackCriterion
from pagoda.detectors.anchors import AnchorGrid
from pagoda.detectors.contract import Detector, check_label_map, strides_of
from pagoda.ops.anchors import AnchorShapes
from pagoda.postprocess.proposals import SelectProposals
from pagoda.postprocess.rcnn import SelectSecondStage
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RPNOutputs
from pagoda.structures.tubes import SomeTargets, Tubes

Found = TypeVar("Found", Detections, Tubes)
"""objects of a picture or a clip"""

# 32 pixels on P2, doubling with every level.
PYRAMID_ANCHORS = AnchorShapes(base_scale=8.0, octaves=1)


class Proposed(NamedTuple):
    """What the first stage hands to the second: pyramid, raw outputs and the regions chosen."""

    pyramid: dict[int, Tensor]
    """the levels that regions are read from, (B, C, H, W), or (B, C, T, H, W) of clips"""
    rpn: RPNOutputs
    proposals: Proposals


class TwoStageDetector(Detector):
    """A proposal network on anchors, a box head on what it proposes, and heads that see the objects found.

    Regions are boxes (R, 4) of pictures, or tubes (R, T, 4) of clips.
    """

    backbone: nn.Module
    neck: nn.Module | None
    rpn_head: nn.Module
    box_head: nn.Module
    keypoint_head: nn.Module | None
    criterion: RCNNCriterion | DetectAndTrackCriterion
    anchors: AnchorGrid
    levels: list[int]
    """finest first"""
    roi_levels: list[int]
    """of them those that the box head and its fellows read"""
    strides: dict[int, int]
    """{level: pixels from cell to cell}"""

    def _fit_parts(
        self, anchors: AnchorShapes | None, label_map: LabelMap | None, input_spec: InputSpec | None
    ) -> None:
        """What follows from backbone, neck and heads: levels, strides, anchors, classes.

        Raises ValueError for a proposal head of other anchors, and a label map of other classes.
        """
        self.levels = sorted((self.neck or self.backbone).channels)
        self.roi_levels = [level for level in self.levels if level in self.backbone.channels]
        self.strides = strides_of(self.backbone, self.neck)
        self.anchors = AnchorGrid(anchors or PYRAMID_ANCHORS, self.strides)
        if self.rpn_head.anchors != self.anchors.per_cell:
            raise ValueError(
                f"the proposal head speaks of {self.rpn_head.anchors} anchors per cell, but there are"
                f" {self.anchors.per_cell}"
            )
        self.label_map = check_label_map(label_map, self.box_head.num_classes)
        self.input_spec = input_spec or InputSpec()

    @contextmanager
    def as_learnt(self) -> Iterator[None]:
        """Heads that see the objects are given as many regions as they will be: regions serve objects from a lower
        overlap on, for those of a fresh proposal network overlap them little."""
        criterion = self.criterion
        self.criterion = criterion.as_learnt()
        try:
            yield
        finally:
            self.criterion = criterion

    def pool(
        self,
        head: nn.Module,
        pyramid: dict[int, Float[Tensor, "b c *t _ _"]],
        regions: Float[Tensor, "r *t 4"],
        images: Int[Tensor, " r"],
    ) -> Float[Tensor, "r *t c h w"]:
        """(R, C, h, w) features of regions of the pictures `images`, as this head wants them; of clips T behind R."""
        raise TypeError(f"{type(self).__name__} defines no pool")

    def keypoint_logits(
        self,
        pyramid: dict[int, Float[Tensor, "b c *t _ _"]],
        regions: Float[Tensor, "r *t 4"],
        images: Int[Tensor, " r"],
    ) -> Float[Tensor, "r *t k s s"]:
        """(R, K, S, S) heat maps over each box; of clips T behind R."""
        return self.keypoint_head(self.pool(self.keypoint_head, pyramid, regions, images))

    def decode(self, deltas: Float[Tensor, "*n 4"], regions: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        return self.box_head.coder.decode(deltas, regions)

    def _propose(
        self, pyramid: dict[int, Float[Tensor, "b c *t _ _"]], images: ImageBatch, select: SelectProposals
    ) -> Proposed:
        """What the proposal head says of a pyramid, and the regions that `select` takes."""
        logits, deltas = self.rpn_head(pyramid)
        anchors = self.anchors(pyramid, (images.pixels.shape[-2], images.pixels.shape[-1]))
        rpn = RPNOutputs(logits, deltas, anchors)
        proposals = select(rpn, images.sizes, self.rpn_head.coder)
        return Proposed({level: pyramid[level] for level in self.roi_levels}, rpn, proposals)

    def _judge(
        self, pyramid: dict[int, Float[Tensor, "b c *t _ _"]], regions: Float[Tensor, "b r *t 4"]
    ) -> tuple[Float[Tensor, "b r _"], Float[Tensor, "b r _ *t 4"]]:
        """Class logits and deltas of every region of every picture."""
        sizes = (regions.shape[0], regions.shape[1])
        pooled = self.pool(self.box_head, pyramid, regions.flatten(0, 1), image_index(regions))
        classes, boxes = (x.unflatten(0, sizes) for x in self.box_head(pooled))
        return classes, boxes

    def _keypoint_loss(
        self,
        pyramid: dict[int, Float[Tensor, "b c *t _ _"]],
        served: RoISample,
        targets: Sequence[SomeTargets],
        criterion: KeypointCriterion[SomeTargets],
    ) -> dict[str, Float[Tensor, ""]]:
        logits = self.keypoint_logits(pyramid, served.boxes, served.images)
        pairs = [criterion.targets(*each, logits.shape[-1]) for each in served.of_pictures(targets)]
        none = served.images.new_zeros(0, *logits.shape[1:-2])
        cells, counts = (
            (torch.cat(part) for part in zip(*pairs, strict=True)) if pairs else (none, none.bool())
        )
        return criterion(logits, cells, counts, len(targets))

    def _with_keypoints(
        self,
        found: list[Found],
        pyramid: dict[int, Float[Tensor, "b c *t _ _"]],
        select: SelectSecondStage,
    ) -> list[Found]:
        """The objects of each picture with what the keypoint head, if there is one, says of them."""
        if self.keypoint_head is None:
            return found
        regions = torch.cat([each.boxes for each in found])
        maps = self.keypoint_logits(pyramid, regions, image_index_of(found))
        places, scores = select.keypoints(maps, regions)
        counts = [len(each) for each in found]
        parts = zip(found, places.split(counts), scores.split(counts), strict=True)
        return [replace(each, keypoints=at, keypoint_scores=score) for each, at, score in parts]


def image_index(regions: Float[Tensor, "b r *rest"]) -> Int[Tensor, " _"]:
    """(B · R,) the picture of each of (B, R, …) regions, all pictures together; exports.

    >>> image_index(torch.zeros(2, 3, 4))
    tensor([0, 0, 0, 1, 1, 1])
    """
    batch, count = regions.shape[0], regions.shape[1]
    return torch.arange(batch, device=regions.device)[:, None].expand(batch, count).flatten()


def image_index_of(found: Sequence[Detections] | Sequence[Tubes]) -> Int[Tensor, " _"]:
    """(N,) the picture of each object of one list per picture, all pictures together.

    >>> from pagoda.structures.labels import LabelMap
    >>> box, one, classes = torch.zeros(1, 4), torch.ones(1), LabelMap.numbered(1)
    >>> found = Detections(box, one, one.long() - 1, (9, 9), classes)
    >>> image_index_of([found, found[:0], found])
    tensor([0, 2])
    """
    device = found[0].boxes.device
    counts = torch.tensor([len(each) for each in found], device=device)
    return torch.arange(len(found), device=device).repeat_interleave(counts)
