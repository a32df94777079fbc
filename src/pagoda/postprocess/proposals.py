"""From the proposal network's answers to the regions worth a second look: all of fixed size. R regions."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from pagoda.ops.anchors import Side
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import clip_boxes, pairwise_iou
from pagoda.ops.nms import batch_survivors
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.postprocess.select import at_most, beside, pick
from pagoda.structures.outputs import Proposals, RPNOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class SelectProposals:
    """The best regions of each level, decoded, cut to the picture, suppressed; then the best of all levels.

    Suppression stays within a level. Raises ValueError for limits below 1.

    >>> anchors = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 9.], [9., 9., 40., 40.]])
    >>> outputs = RPNOutputs(torch.tensor([[2.0, 1.0, 0.0]]), torch.zeros(1, 3, 4), (anchors,))
    >>> SelectProposals()(outputs, torch.tensor([[32, 32]]), BoxCoder())[:2]  # boxes and logits
    (tensor([[[ 0.,  0.,  8.,  8.],
             [ 9.,  9., 32., 32.],
             [ 0.,  0.,  0.,  0.]]]), tensor([[2., 0., 0.]]))
    """

    max_candidates: int = 1000
    """per level and picture, before suppression"""
    max_iou: float = 0.7
    """with a better region of the same level"""
    max_per_level: int | None = None
    """after suppression; None: only `max_proposals` counts"""
    max_proposals: int = 1000
    """per picture, or of all pictures of a batch together where `pool` says so"""
    pool: Literal["image", "batch"] = "image"
    """whose proposals compete for the last places: "batch" in the training of maskrcnn-benchmark and Caffe2"""
    min_side: float | None = 0.0
    """pixels: a region must be wider and higher; None: any is taken (maskrcnn-benchmark)"""
    rank_on: Literal["logit", "probability"] = "logit"
    """what levels are compared by: large logits differ where their probabilities, rounded, are the same; then the
    finer level comes first"""
    inclusive: bool = False
    """legacy boxes: overlaps count sides + 1, and pictures end at W − 1"""

    def __post_init__(self) -> None:
        check_counts(
            max_candidates=self.max_candidates,
            max_per_level=self.max_per_level,
            max_proposals=self.max_proposals,
        )
        check_numbers(self, 0, 1, "max_iou")
        check_numbers(self, 0, 1e6, "min_side")

    def __call__(self, outputs: RPNOutputs, sizes: Real[Tensor, "b *one 2"], coder: BoxCoder) -> Proposals:
        """Regions in pixels of the batch, whose pictures have (height, width) `sizes` (B, 2); exports."""
        counts = [anchors.shape[0] for anchors in outputs.anchors]
        logits = outputs.logits.detach().float().split(counts, dim=1)
        deltas = outputs.deltas.detach().float().split(counts, dim=1)
        boxes, scores, levels, order = [], [], [], []
        for level, anchors in enumerate(outputs.anchors):
            best, rows = logits[level].topk(at_most(self.max_candidates, counts[level]), dim=1)
            boxes.append(self._decode(coder, pick(deltas[level], rows), anchors[rows]))
            scores.append(best if self.rank_on == "logit" else best.sigmoid())
            levels.append(torch.full_like(rows, level))
            order.append(torch.arange(best.shape[1], 0, -1, device=best.device).expand_as(best))
        found = clip_boxes(torch.cat(boxes, dim=1), sizes[:, None], inclusive=self.inclusive)
        places = torch.cat(order, dim=1).float()  # of a candidate in its level: all that suppression compares
        if self.min_side is not None:
            large = ((found[..., 2:] - found[..., :2]) > self.min_side).flatten(2).all(-1)
            places = places * large
        kept = self._survivors(found, places, torch.cat(levels, dim=1), len(counts))
        kept = self._best_of_levels(kept, [best.shape[1] for best in scores])
        return self._best(found, torch.cat(scores, dim=1), kept)

    def hangs_by(self, rows: Int[Tensor, " n"], regions: Proposals, *, score: float, iou: float) -> bool:
        """Whether rounding decides if one of these regions of a picture survives: another would suppress it, or be
        suppressed by it, were it better by `score` (as a probability), or overlapped it by `iou` more or less.

        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 28, 28]])
        >>> regions = Proposals(boxes[None], torch.tensor([[1.0, 0.99, 0.98]]), torch.ones(1, 3, dtype=torch.bool))
        >>> [SelectProposals().hangs_by(torch.tensor([row]), regions, score=0.02, iou=0.05) for row in range(3)]
        [True, True, False]
        """
        boxes, scores = regions.boxes[0], regions.scores[0]
        sure = scores.sigmoid() if self.rank_on == "logit" else scores
        lead = sure[None] - sure[rows, None]
        overlap = pairwise_iou(boxes[rows], boxes, inclusive=self.inclusive) - self.max_iou
        is_close = (overlap > -iou) & (lead.abs() <= score) | (overlap.abs() <= iou) & (lead >= -score)
        is_other = torch.arange(len(boxes), device=boxes.device)[None] != rows[:, None]
        return bool((is_close & is_other & regions.valid).any())

    def _decode(
        self, coder: BoxCoder, deltas: Float[Tensor, "b k 4"], anchors: Float[Tensor, "b k 4"]
    ) -> Float[Tensor, "b k 4"]:
        return coder.decode(deltas, anchors)

    def _survivors(
        self,
        boxes: Float[Tensor, "b n 4"],
        places: Float[Tensor, "b n"],
        levels: Int[Tensor, "b n"],
        num_levels: int,
    ) -> Bool[Tensor, "b n"]:
        """What suppression within each level leaves."""
        return batch_survivors(boxes, places, levels, num_levels, self.max_iou, self.inclusive)

    def _best_of_levels(self, kept: Bool[Tensor, "b n"], counts: list[Side]) -> Bool[Tensor, "b n"]:
        if self.max_per_level is None:
            return kept
        return torch.cat(
            [part & (part.cumsum(1) <= self.max_per_level) for part in kept.split(counts, dim=1)], dim=1
        )

    def _best(
        self, boxes: Float[Tensor, "b n *t 4"], scores: Float[Tensor, "b n"], kept: Bool[Tensor, "b n"]
    ) -> Proposals:
        keys = distinct(scores).masked_fill(~kept, -torch.inf)
        best, rows = keys.topk(at_most(self.max_proposals, keys.shape[1]), dim=1)
        valid, scores = best > -torch.inf, scores.gather(1, rows)
        if self.pool == "batch":
            together = best.flatten()
            last = together.topk(at_most(self.max_proposals, together.shape[0])).values[-1]
            valid = valid & (best >= last)
        return Proposals(pick(boxes, rows) * beside(valid, boxes), scores * valid, valid)


def distinct(scores: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Scores in double precision, of which equal ones fall in the order they stand in.

    Selection must not depend on how a sort treats ties; the sort that promises their order has no counterpart in
    ONNX. A float's neighbour is 6e-8 of it away, so nothing else changes place. Apple's GPUs have no doubles.

    >>> distinct(torch.tensor([[3., 3., 3.]])).argsort(descending=True)
    tensor([[0, 1, 2]])
    """
    if scores.device.type == "mps":
        return scores
    wide = scores.double()
    return wide - wide.abs() * torch.arange(wide.shape[1], device=wide.device) * 1e-13


@checked
@dataclass(frozen=True, kw_only=True)
class ProposalRules:
    """How many regions a step of training looks at, and how many a picture to detect in.

    >>> rules = ProposalRules()
    >>> rules.training.max_candidates, rules.inference.max_candidates
    (2000, 1000)
    """

    training: SelectProposals = field(default_factory=lambda: SelectProposals(max_candidates=2000))
    """what the box head learns from; its criterion then draws a sample of it"""
    inference: SelectProposals = field(default_factory=SelectProposals)
    """what the box head judges in use"""
